"""Shared by the tests of delivery: certificates of hosts."""

import ssl

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
