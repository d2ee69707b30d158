"""TLS contexts for outgoing connections, made once: each costs a read of all authorities."""

import ssl
from functools import cache


@cache
def client_context(*, verify: bool) -> ssl.SSLContext:
    """
    Return a client's context, TLS 1.2 or newer (RFC 8996).

    Without `verify` any certificate is taken: opportunistic TLS protects against listening, and a
    wrong certificate is still better than none (RFC 7435).
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
