"""Shared by the tests of the SMTP client: certificates of its peers."""

import ssl
from pathlib import Path

import pytest

from postroad.ingress.listen.certificate import self_signed
from postroad.testing.peers.certificates import Vouched, vouched_for


@pytest.fixture(scope="session")
def mx_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Give a server's context with a self-signed certificate."""
    return self_signed(tmp_path_factory.mktemp("tls"), "mx.test").context


@pytest.fixture(scope="session")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> Vouched:
    """Give a certificate that is good for mx.test."""
    return vouched_for(tmp_path_factory.mktemp("vouched"), "mx.test")


@pytest.fixture
def wanting_certificates(tmp_path: Path) -> ssl.SSLContext:
    """Give the context of a server that refuses clients without a certificate."""
    context = vouched_for(tmp_path, "mx.test").context
    context.verify_mode = ssl.CERT_REQUIRED
    return context
