"""
A process and its supervisor: dying with it, and telling it when one is ready.

`postroad up` starts its children with three variables: POSTROAD_PROCESS (a name for logs and
metrics), POSTROAD_PARENT_PID and POSTROAD_NOTIFY_FD. Without them a process is on its own, as in a
pod, and nothing here does anything.
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
_LIBC = ctypes.CDLL(None, use_errno=True)  # here, since nothing may be loaded between fork and exec


def die_with_parent(parent: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """
    Ask the kernel to send this process a signal when `parent` dies; Linux only, else nothing.

    SIGKILL is right for every process of ours: none keeps an accepted message. Call it early, in
    the main thread. The request survives exec, so it also serves between fork and exec. The kernel
    counts the death of the parent's *thread* that started this process: start children in the main
    thread. StartupError when the parent is gone already: its death would never be told.
    """
    if not sys.platform.startswith("linux"):
        return
    if _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise StartupError(f"cannot follow the parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        raise StartupError(f"the process {parent} that started this one is gone")


def let_others_finish() -> None:
    """
    Ask the kernel not to interrupt others when this process has something to do; Linux only.

    For a server of many threads that its clients wake on their own processors (SCHED_BATCH,
    sched(7)). It has its full share of time, in fewer and longer turns. Survives exec, as above.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a sandbox forbids it: only speed is lost
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class ReadyNotice:
    """
    Writes {"ready": true} or {"ready": false} lines to a pipe.

    When readiness changes, and each second from the start on: an event loop that stands still
    writes nothing.
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
        """Tell the supervisor; not what it was told within this second."""
        if self._fd is None or (ready is self._told and now < self._again):
            return
        try:
            os.write(self._fd, json.dumps({"ready": ready}).encode() + b"\n")
        except BlockingIOError:
            return  # full: the next look tells it
        except OSError:
            self._fd = None  # the supervisor closed its end: nobody wants to know
            return
        self._told, self._again = ready, now + _TOLD_EVERY
