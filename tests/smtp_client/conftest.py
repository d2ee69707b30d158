"""Shared by the tests of the SMTP client: a peer that wants a certificate."""

import ssl
from pathlib import Path

import pytest

from postroad.testing.peers.certificates import vouched_for


@pytest.fixture
def wanting_certificates(tmp_path: Path) -> ssl.SSLContext:
    """Give the context of a server that refuses clients without a certificate."""
    context = vouched_for(tmp_path, "mx.test").context
    context.verify_mode = ssl.CERT_REQUIRED
    return context
