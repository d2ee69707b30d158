"""File descriptors: each connection needs one, and the system limits how many a process has."""

import dataclasses
import resource

from postroad.ingress.limits import IngressLimits
from postroad.process.descriptors import raise_limit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_OTHERS = 64  # descriptors for all else: listeners, the queue, files, the HTTP pages


def within_descriptors(limits: IngressLimits) -> IngressLimits:
    """
    Raise the process's limit on descriptors as far as allowed; return limits that fit into it.

    If it is too low for `connections`, the log says so, and `connections` is lowered: a process
    that has no descriptor left cannot even answer 421.
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
