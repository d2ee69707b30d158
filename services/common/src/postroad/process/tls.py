"""
TLS of all processes: contexts for outgoing connections, and settings that save memory.

Contexts are cached, because each new one reads all certificate authorities.
"""

import ctypes
import ssl
from functools import cache

from postroad.process.errors import StartupError

_RECORD = 16 * 1024  # octets: the most that one record has (RFC 8446 §5.1)
_BLOCK = 256 * 1024  # octets of uvloop's read buffer for each connection
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


class TlsObject(ssl.SSLObject):
    """
    The TLS of one connection, with small reads.

    uvloop asks for 256 KiB at each read, and Python allocates that much for the few octets that
    came, at the end of the heap. This took half of the processor time of a command and its reply.
    """

    def read(self, len: int = _RECORD, buffer: bytearray | None = None) -> bytes:  # type: ignore[override]
        """Return the octets that came, one record at most."""
        return super().read(min(len, _RECORD), buffer)


def keep_blocks_apart() -> None:
    """
    Make glibc map uvloop's read buffers from the kernel; does nothing with another C library.

    After the first such block is freed, glibc raises its mmap threshold and takes the next ones
    from the heap. There a block lies on pages that earlier handshakes have written to, which cost
    22 kB while the connection is open. A mapped block costs one page, because only its beginning is
    used. Setting the threshold keeps glibc from raising it. The trim threshold is twice as large,
    which is glibc's own rule.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2 * _BLOCK)
        mallopt(_M_MMAP_THRESHOLD, _BLOCK)


@cache
def client_context(*, verify: bool, ca_file: str | None = None) -> ssl.SSLContext:
    """
    Return a client's context, TLS 1.2 or newer (RFC 8996).

    Without `verify` any certificate is accepted: opportunistic TLS protects against eavesdropping,
    and an invalid certificate is still better than no TLS (RFC 7435). With it, the authorities in
    `ca_file` are trusted as well as the system's. Raises OSError or ssl.SSLError when the file
    cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = TlsObject
    if verify and ca_file is not None:
        context.load_verify_locations(ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def read_authorities(ca_file: str | None) -> None:
    """
    Read what outgoing connections need of files, and keep it.

    Done at the start: OpenSSL takes a file that it cannot open for want of a descriptor for none.
    """
    for verify in (False, True):
        client_context(verify=verify, ca_file=ca_file)


def check_authorities(ca_file: str, *, setting: str) -> None:
    """Raise StartupError when the file of authorities in a setting cannot be used."""
    try:
        client_context(verify=True, ca_file=ca_file)
    except OSError as error:  # ssl.SSLError among them
        reason = "holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"{setting}: {ca_file}: {reason}") from error
