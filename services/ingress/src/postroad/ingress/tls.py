"""
The certificate ingress shows: from files, read again when they change, or made at first start.

A changed certificate is put into the live context: new handshakes show it, running sessions go on.
A pair of files that do not fit together (half a change) is reported, and the old pair stays.
"""

import asyncio
import fcntl
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postroad.runtime.errors import StartupError
from postroad.runtime.logs import get_logger

log = get_logger("ingress.tls")

_LOOK_INTERVAL = 1.0  # seconds between looks at the files
_SELF_SIGNED_LIFE = timedelta(days=3650)


class Certificate:
    """A certificate and key in files, and the server context they are in."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
        self._seen = self._stamp()
        try:
            self.context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise StartupError(
                f"cannot use the certificate {certificate} with the key {key}: {error}"
            ) from error

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        # Kubernetes swaps a link to a folder: the resolved file is another, with another inode.
        return tuple(_mark(path) for path in (self._certificate, self._key))

    def look(self) -> bool:
        """Read the files again if they changed; return whether new ones are shown from now on."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            # First into a context of their own: a pair that does not fit would spoil the live one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            log.error("a changed certificate cannot be used, the old one stays", error=str(error))
            self._seen = stamp
            return False
        self._seen = stamp
        log.info("a changed certificate is in use")
        return True

    async def follow(self) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            self.look()


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


def self_signed(folder: Path, hostname: str) -> Certificate:
    """Return the self-signed certificate in `folder`, made now when there is none."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(folder, hostname)
        except OSError as error:
            raise StartupError(f"cannot write a certificate into {folder}: {error}") from error
    return Certificate(certificate, key)


def _make(folder: Path, hostname: str) -> None:
    """Write a new key and certificate, unless another process was first: several start at once."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "key.pem").exists():
            certificate, key = _new_pair(hostname)
            # The key last: who finds both finds a pair.
            _write(folder / "cert.pem", certificate, mode=0o644)
            _write(folder / "key.pem", key, mode=0o600)


def _new_pair(hostname: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _SELF_SIGNED_LIFE)
        .add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), pem_key


def _names(hostname: str) -> Iterable[x509.GeneralName]:
    return [x509.DNSName(name) for name in dict.fromkeys((hostname, "localhost"))]


def _write(path: Path, octets: bytes, *, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
    temporary.replace(path)
