"""What tests of delivery share: a certificate that nobody vouches for."""

import ssl

import pytest

from postroad.ingress.tls import self_signed


@pytest.fixture(scope="session")
def mx_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Give a server's context with a self-signed certificate."""
    return self_signed(tmp_path_factory.mktemp("tls"), "mx.test").context
