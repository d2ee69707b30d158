"""
TLS of all processes: contexts for outgoing connections, and how little memory a connection takes.

A context is made once: each costs a read of all authorities.
"""

import ctypes
import ssl
from functools import cache

from postroad.process.errors import StartupError

_RECORD = 16 * 1024  # octets: no more comes at a time (RFC 8446 §5.1)
_BLOCK = 256 * 1024  # octets that uvloop has for each connection, to read into
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


class TlsObject(ssl.SSLObject):
    """
    The TLS of one connection.

    uvloop asks for 256 KiB at each read, and twice where something has come. Python makes a block
    of that size for the few octets there are, which comes from the heap's end and goes back there:
    that was half of the processor time of a command and its reply.
    """

    def read(self, len: int = _RECORD, buffer: bytearray | None = None) -> bytes:  # type: ignore[override]
        """Return what there is, a record at most."""
        return super().read(min(len, _RECORD), buffer)


def keep_blocks_apart() -> None:
    """
    Let the kernel give each connection its block; other C libraries than glibc are left alone.

    Once one was freed, glibc takes the next from the heap. There it lies on pages that the
    handshakes before it have written to, and 22 kB of them stay taken while the connection is
    open. A block of the kernel's takes one page, the first, which is the one that is used. So we
    say from which size on blocks are the kernel's: then glibc leaves that as it is. It keeps twice
    that size unused at the heap's end, as it does of itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2 * _BLOCK)
        mallopt(_M_MMAP_THRESHOLD, _BLOCK)


@cache
def client_context(*, verify: bool, ca_file: str | None = None) -> ssl.SSLContext:
    """
    Return a client's context, TLS 1.2 or newer (RFC 8996).

    Without `verify` any certificate is taken: opportunistic TLS protects against listening, and a
    wrong certificate is still better than none (RFC 7435). With it, authorities in `ca_file` are
    trusted beside the system's; OSError or ssl.SSLError when it cannot be read.
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


def check_authorities(ca_file: str, *, setting: str) -> None:
    """Raise StartupError where a file of authorities, named by a setting, is of no use."""
    try:
        client_context(verify=True, ca_file=ca_file)
    except OSError as error:  # ssl.SSLError among them
        reason = "holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
        raise StartupError(f"{setting}: {ca_file}: {reason}") from error
