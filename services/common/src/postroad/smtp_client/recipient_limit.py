"""
How many recipients a message to a host may have, as the host shows it. No I/O; time is an argument.

A host that takes fewer than it is given says so at the first that is too many (RFC 5321
§4.5.3.1.10). Its number may be that of a bad moment, so more are tried after a while.
"""

from dataclasses import dataclass

PER_TRANSACTION = 100  # recipients, RFC 5321 §4.5.3.1.8: all servers take so many

_LEARNED = 3600.0  # seconds for which a number holds
_FIRST_TRIAL = 10  # messages as large as may be, all taken, before twice as many are tried
_LAST_TRIAL = 640


@dataclass(slots=True)
class RecipientLimit:
    """What one host takes; at first what all servers do."""

    _number: int = PER_TRANSACTION
    _until: float = 0.0
    _leased: int = 0  # messages with that many recipients
    _needed: int = _FIRST_TRIAL
    _is_trial: bool = False

    def most(self, now: float) -> int:
        """Return how many recipients a message may have."""
        if self._number < PER_TRANSACTION and now >= self._until:
            self._number, self._needed = PER_TRANSACTION, _FIRST_TRIAL
        return self._number

    def refused(self, accepted: int, now: float) -> None:
        """It took so many recipients of a message and no more: send no more for a while."""
        if self._is_trial:  # each costs refused commands: the next one later
            self._needed = min(2 * self._needed, _LAST_TRIAL)
        self._number, self._until = accepted, now + _LEARNED
        self._leased, self._is_trial = 0, False

    def took(self, recipients: int) -> None:
        """It took a message with all its recipients."""
        if recipients < self._number or self._number >= PER_TRANSACTION:
            return
        self._leased += 1
        if self._leased >= self._needed:
            self._number = min(2 * self._number, PER_TRANSACTION)
            self._leased, self._is_trial = 0, True
