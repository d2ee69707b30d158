"""
The TLS certificate of ingress: from files, which are read again when they change, or self-signed.

When the files change, a new `SSLContext` is made for all later handshakes. Running sessions keep
theirs. The new pair is not loaded into the old context, for two reasons: OpenSSL keeps one
certificate for each type of key, so it would still show the old one to clients that prefer its
type; and it would resume TLS sessions that began with the old one. If certificate and key do not
fit together (only one has changed yet), that is logged, and the old pair stays in use.
"""

import asyncio
import fcntl
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postroad.process.errors import StartupError
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_LOOK_INTERVAL = 1.0  # seconds between looks at the files
_SELF_SIGNED_LIFE = timedelta(days=3650)


class ServerContext(ssl.SSLContext):
    """The context that listeners hold; each handshake uses the context in force at that moment."""

    in_force: ssl.SSLContext

    def __new__(cls, in_force: ssl.SSLContext) -> Self:
        """Begin with `in_force`; this context itself has no certificate."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.in_force = in_force
        return made

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any
    ) -> ssl.SSLObject:
        """Make the TLS object of a connection."""
        self.in_force.sslobject_class = self.sslobject_class
        return self.in_force.wrap_bio(incoming, outgoing, *args, **options)

    def choose(self, tls: ssl.SSLObject, _name: str | None, _of: ssl.SSLContext) -> None:
        """Choose the context at the ClientHello: the files may have changed since the accept."""
        if tls.context is not self.in_force:
            tls.context = self.in_force


class Certificate:
    """A certificate and key in files, and the server context they are in."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen = self._stamp()
        self._reported = self._seen
        try:
            self.context = ServerContext(self._load())
        except (OSError, ValueError) as error:
            raise StartupError(
                f"cannot use the certificate {certificate} with the key {key}: {error}"
            ) from error
        self.context.in_force.sni_callback = self.context.choose

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
        context.load_cert_chain(self._certificate, self._key, password=_no_password)
        return context

    def _stamp(self) -> tuple[tuple[int, ...], ...]:
        # Kubernetes replaces a link to a folder, so the resolved file has another inode.
        return tuple(_mark(path) for path in (self._certificate, self._key))

    def look(self) -> bool:
        """Read the files again if they changed; return whether a new pair is in use from now on."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            context = self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            # Tried again each second: the end of a write need not change the files' stamp.
            if stamp != self._reported:
                log.error(
                    "a changed certificate cannot be used, the old one stays", error=str(error)
                )
            self._reported = stamp
            return False
        context.sni_callback = self.context.choose
        self.context.in_force = context
        self._seen = stamp
        log.info("a changed certificate is in use")
        return True

    async def follow(self) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            self.look()


def _mark(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _no_password() -> str:
    # OpenSSL would ask for it at the terminal, and the process would hang.
    raise ValueError("the key is encrypted; write it without a password")


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
    """Write a new key and certificate, unless another process, started at once, was first."""
    descriptor = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "key.pem").exists():
            certificate, key = _new_pair(hostname)
            # The key last: if both files are there, they are a pair.
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
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(octets)
    temporary.replace(path)
