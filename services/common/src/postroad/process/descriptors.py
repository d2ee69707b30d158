"""
File descriptors: each connection needs one, and the system limits how many a process has.

If a process has none left, that is a lack of this machine: it says nothing about a host, about the
DNS or about mail. So such an error is told apart here, for all that opens connections, and logged
with what to do about it.
"""

import errno
import resource
import time

from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# This machine has no more descriptors, or no more memory for sockets.
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TELL_EVERY = 60.0  # seconds


def raise_limit() -> int:
    """Raise the soft limit to the hard limit; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def is_own_lack(error: BaseException) -> bool:
    """Whether an error says that this machine has no descriptor or memory for another socket."""
    return isinstance(error, OSError) and error.errno in _OURS


class LackTeller:
    """Logs a lack of descriptors once a minute, however many connections it prevents."""

    def __init__(self) -> None:
        self._told_at = float("-inf")
        self._left_out = 0

    def tell(self, error: BaseException, now: float | None = None) -> None:
        """Log the lack, unless that was done just now; `now` defaults to time.monotonic."""
        now = time.monotonic() if now is None else now
        if now - self._told_at < _TELL_EVERY:
            self._left_out += 1
            return
        log.error(
            "no file descriptors are left; raise the limit (ulimit -Hn, LimitNOFILE)",
            error=str(error),
            left_out=self._left_out,
        )
        self._told_at, self._left_out = now, 0


LACKS = LackTeller()  # of this process
