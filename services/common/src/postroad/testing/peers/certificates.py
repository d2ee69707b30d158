"""Makes self-signed certificates for tests."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def tls_pair(
    hostname: str,
    organisation: str,
    *,
    also: tuple[str, ...] = (),
    rsa_key: bool = False,
    ends_in: timedelta = timedelta(days=1),
) -> tuple[str, str]:
    """
    Return certificate and key as PEM; `organisation` distinguishes one from another.

    The certificate is for `also`, too, and is its own authority.
    """
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
        rsa.generate_private_key(65537, 2048)
        if rsa_key
        else ec.generate_private_key(ec.SECP256R1())
    )
    names = [(NameOID.COMMON_NAME, hostname), (NameOID.ORGANIZATION_NAME, organisation)]
    subject = x509.Name([x509.NameAttribute(*each) for each in names])
    hosts = [x509.DNSName(each) for each in (hostname, *also)]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + ends_in)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return pem.decode(), pem_key.decode()


@dataclass(frozen=True)
class Vouched:
    """A server's context, and the file with the authority of its certificate."""

    context: ssl.SSLContext
    ca_file: str


def vouched_for(folder: Path, hostname: str) -> Vouched:
    """Write a certificate, which is its own authority, into a folder."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    for path, pem in zip((certificate, key), tls_pair(hostname, "tests"), strict=True):
        path.write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Vouched(context, str(certificate))
