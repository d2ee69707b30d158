"""
What stands, in one attempt, for recipients that no host has decided about. No I/O.

Host after host is tried, and each may say something: what tells most of the mail stands.
"""

from collections.abc import Iterable

from postroad.delivery.outcome import Outcome, OutcomeKind, deferred
from postroad.mail.status import EnhancedStatus

UNREACHABLE = EnhancedStatus(4, 4, 1)

_NOBODY = deferred("no address of the hosts can be tried from here", status=UNREACHABLE)


class Standing:
    """Outcomes by recipient position."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}

    def add(self, numbers: Iterable[int], outcome: Outcome) -> None:
        """Let an outcome stand unless one does that tells more; of equal ones the last stands."""
        for number in numbers:
            before = self._outcomes.get(number)
            if before is None or _weight(outcome) >= _weight(before):
                self._outcomes[number] = outcome

    def of(self, numbers: Iterable[int], *, others: bool) -> dict[int, Outcome]:
        """Return what stands for recipients; nothing is final where `others` were not asked."""
        found = {number: self._outcomes.get(number, _NOBODY) for number in numbers}
        return {n: each.put_off() for n, each in found.items()} if others else found


def _weight(outcome: Outcome) -> int:
    """Return how much it tells: a reply most, what a host announces more than silence."""
    if outcome.answered:
        return 3
    if not outcome.phase:
        return 0
    # What is announced without TLS may not be all: then what other hosts lack decides nothing.
    return 1 if outcome.kind is OutcomeKind.BOUNCED else 2
