"""TLS contexts for outgoing connections, made once: each costs a read of all authorities."""

import ssl
from functools import cache

from postroad.runtime.errors import StartupError


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
