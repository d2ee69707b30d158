"""
File descriptors of a delivery process: how many records, sessions and questions fit into them.

Each record in hand may need a connection, an idle session has one, and so does a question to the
DNS. If there are too few for all, each gets a part, so that silent hosts cannot use up what the
questions of other mail need.
"""

import resource
from dataclasses import dataclass

from postroad.delivery.sites.pool import IN_ALL
from postroad.dns.resolver import AT_ONCE
from postroad.process.descriptors import raise_limit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_OTHERS = 64  # descriptors for all else: the queue, files, the HTTP pages, closing connections
_PART = 8  # idle sessions, and questions, have this part each of what is left
_LEAST = 10  # places, whatever the limit


@dataclass(frozen=True, slots=True)
class Portions:
    """How many records a process has in hand, idle sessions, and concurrent questions."""

    in_hand: int
    idle: int = IN_ALL
    questions: int = AT_ONCE

    @property
    def needed(self) -> int:
        """How many descriptors that takes; there are further questions for slow names."""
        return self.in_hand + self.idle + self.questions + self.questions // 4 + _OTHERS


def within_descriptors(in_hand: int) -> Portions:
    """
    Raise the process's limit on descriptors as far as allowed; return portions that fit into it.

    If it is too low for `in_hand` records, the log says so, and what to raise.
    """
    limit = raise_limit()
    wanted, fitting = Portions(in_hand), fitting_portions(in_hand, limit)
    if fitting != wanted:
        log.warning(
            "too few file descriptors for all places; raise the limit (ulimit -Hn, LimitNOFILE)",
            error=f"{wanted.needed} are needed, {limit} may be had",
            count=fitting.in_hand,
        )
    return fitting


def fitting_portions(in_hand: int, descriptors: int) -> Portions:
    """Return what fits into so many descriptors."""
    wanted = Portions(in_hand)
    if descriptors == resource.RLIM_INFINITY or wanted.needed <= descriptors:
        return wanted
    left = max(0, descriptors - _OTHERS)
    idle, questions = min(IN_ALL, left // _PART), max(4, min(AT_ONCE, left // _PART))
    rest = left - idle - questions - questions // 4
    return Portions(max(_LEAST, min(in_hand, rest)), idle, questions)
