"""
The child's side of supervision: a process dies with its supervisor, and tells it when it is ready.

`postroad up` starts its children with three variables: POSTROAD_PROCESS (a name for logs and
metrics), POSTROAD_PARENT_PID and POSTROAD_NOTIFY_FD. Without them, as in a pod, a process has no
supervisor and this module does nothing.
"""

import contextlib
import ctypes
import json
import math
import os
import signal
import sys

from postroad.process.errors import StartupError

_TOLD_EVERY = 1.0  # seconds
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)  # at import: nothing may be loaded between fork and exec


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """
    Make the kernel send this process a signal when `parent` dies. Linux only; elsewhere a no-op.

    SIGKILL is safe for every Postroad process, because none keeps an accepted message. Call this
    early, in the main thread. The request survives exec, so it can also be made between fork and
    exec. The signal comes when the parent's *thread* that started this process dies, so start
    children in the main thread. Raises StartupError if the parent is dead already.
    """
    if not sys.platform.startswith("linux"):
        return
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise StartupError(f"cannot follow the parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        raise StartupError(f"the process {parent} that started this one is gone")


def let_others_finish() -> None:
    """
    Make the kernel not preempt other processes when this one wakes (SCHED_BATCH, sched(7)).

    This is for a server with many threads, whose clients run on the same processors. It still gets
    its full share of time, in fewer and longer turns. Linux only; it survives exec, as above.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox forbids it: only speed is lost
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class ReadyNotice:
    """
    Writes {"ready": true} or {"ready": false} lines to the supervisor's pipe.

    It writes when readiness changes and once a second; a blocked event loop shows by its silence.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._told: bool | None = None
        self._again = math.inf
        if fd is not None:
            # A supervisor that does not read must not stop the event loop, and grandchildren must
            # not hold the pipe open.
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)

    def tell(self, ready: bool, now: float) -> None:
        """Tell the supervisor, unless it was told the same within the last second."""
        if self._fd is None or (ready is self._told and now < self._again):
            return
        try:
            os.write(self._fd, json.dumps({"ready": ready}).encode() + b"\n")
        except BlockingIOError:
            return  # the pipe is full: the next call writes it
        except OSError:
            self._fd = None  # the supervisor closed its end
            return
        self._told, self._again = ready, now + _TOLD_EVERY
