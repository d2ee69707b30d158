"""What tests of delivery share: a certificate that nobody vouches for."""

import ssl
from pathlib import Path

import pytest

from postroad.ingress.tls import self_signed
from postroad.testing.mx import server_tls
from postroad.testing.tls_pair import tls_pair


@pytest.fixture(scope="session")
def mx_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Give a server's context with a self-signed certificate."""
    return self_signed(tmp_path_factory.mktemp("tls"), "mx.test").context


@pytest.fixture
def wanting_certificates(tmp_path: Path) -> ssl.SSLContext:
    """Give the context of a server that refuses clients without a certificate."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, pem in zip((certificate, key), tls_pair("mx.test", "tests"), strict=True):
        path.write_text(pem)
    context = server_tls(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
