"""TLS contexts for outgoing connections: which authorities they trust."""

import ssl
import tracemalloc
from pathlib import Path

import pytest

from postroad.process.errors import StartupError
from postroad.process.tls import check_authorities, client_context, read_authorities
from postroad.testing.descriptors import no_descriptors
from postroad.testing.peers.certificates import tls_pair


def test_authorities_of_a_file_are_trusted_beside_the_system_s(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(tls_pair("ca.test", "an authority")[0])
    check_authorities(str(path), setting="CA")
    more = client_context(verify=True, ca_file=str(path)).cert_store_stats()["x509"]
    assert more == client_context(verify=True).cert_store_stats()["x509"] + 1


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("no certificate", "holds no certificate")]
)
def test_a_file_without_authorities_is_told_at_the_start(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartupError, match=f"CA: .*ca.pem: {reason}"):
        check_authorities(str(path), setting="CA")


def test_a_read_takes_no_more_memory_than_a_record() -> None:
    """The event loop asks for 256 KiB, of which a block was made for each reply."""
    made = client_context(verify=False).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    tracemalloc.start()
    with pytest.raises(ssl.SSLWantReadError):
        made.read(256 * 1024)
    assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    tracemalloc.stop()


def test_authorities_read_at_the_start_are_trusted_when_no_file_can_be_opened(
    tmp_path: Path,
) -> None:
    """Without a descriptor OpenSSL finds no authority, and says nothing."""
    path = tmp_path / "ca.pem"
    path.write_text(tls_pair("ca.test", "an authority")[0])
    read_authorities(str(path))
    with no_descriptors():
        assert client_context(verify=True, ca_file=str(path)).cert_store_stats()["x509"] > 0
