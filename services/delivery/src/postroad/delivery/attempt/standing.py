"""
What stands, in one attempt, for recipients that no host has decided about. No I/O.

Host after host is tried, and each may say something: what tells most of the mail stands.
"""

from collections.abc import Iterable
from dataclasses import replace

from postroad.delivery.outcome import Outcome, OutcomeKind, cut, deferred
from postroad.mail.status import EnhancedStatus

UNREACHABLE = EnhancedStatus(4, 4, 1)

_OTHERS = "the other hosts could not be asked"
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

    def of(self, numbers: Iterable[int], *, final: bool) -> dict[int, Outcome]:
        """
        Return what stands for recipients.

        What a host lacks stands for good only if it is `final`: other hosts have been asked, or the
        mail's lifetime is over.
        """
        found = {number: self._outcomes.get(number, _NOBODY) for number in numbers}
        return found if final else {number: _open(each) for number, each in found.items()}


def _open(outcome: Outcome) -> Outcome:
    """Return an outcome while another host may decide otherwise."""
    if outcome.kind is not OutcomeKind.BOUNCED:
        return outcome
    return replace(outcome.put_off(), text=cut(f"{outcome.text}; {_OTHERS}"))


def _weight(outcome: Outcome) -> int:
    """Return how much it tells: a reply most, what a host announces more than silence."""
    if outcome.answered:
        return 3
    if not outcome.phase:
        return 0
    # What is announced without TLS may not be all: then what other hosts lack decides nothing.
    return 1 if outcome.kind is OutcomeKind.BOUNCED else 2
