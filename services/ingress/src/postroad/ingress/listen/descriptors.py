"""File descriptors: each connection needs one, and the system grants a process only so many."""

import dataclasses
import resource

from postroad.ingress.limits import IngressLimits
from postroad.process.descriptors import raise_limit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_OTHERS = 64  # descriptors for what is no connection: listeners, the queue, files, the HTTP pages


def within_descriptors(limits: IngressLimits) -> IngressLimits:
    """
    Raise the process's limit on descriptors as far as it may be; return limits that fit into it.

    Where it is too low for `connections`, the log says so, and there are as many places as fit:
    a process without descriptors cannot even say 421.
    """
    hard = raise_limit()
    fitting = fitting_connections(limits.connections, hard)
    if fitting == limits.connections:
        return limits
    log.warning(
        "too few file descriptors for all connections; raise the limit (ulimit -Hn, LimitNOFILE)",
        error=f"{limits.connections + _OTHERS} are needed, {hard} may be had",
        count=fitting,
    )
    return dataclasses.replace(limits, connections=fitting)


def fitting_connections(wanted: int, descriptors: int) -> int:
    """Return how many of the wanted connections fit into so many descriptors."""
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, descriptors - _OTHERS))
