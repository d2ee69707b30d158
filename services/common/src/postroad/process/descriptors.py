"""File descriptors: each connection needs one, and the system grants a process only so many."""

import resource


def raise_limit() -> int:
    """Let the process have as many descriptors as it may; return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
