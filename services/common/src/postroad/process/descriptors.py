"""The limit of open file descriptors. Each connection needs a descriptor."""

import resource


def raise_limit() -> int:
    """Raise the soft limit to the hard limit; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
