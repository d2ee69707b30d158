"""Moments as microseconds since 1970, UTC, as they are stored."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds, 285 years. The servers count lives of messages, and times of schedules, in
# nanoseconds of 63 bits. A life that is too long for that is refused, however often it is tried.
_FARTHEST = 2**53


def microseconds(moment: datetime) -> int:
    """Return a moment as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """Return a stored moment; ValueError if nothing can be computed with it."""
    if not -_FARTHEST < microseconds < _FARTHEST:
        raise ValueError("a time with which nothing can be computed")
    return _EPOCH + microseconds * _MICROSECOND  # timedelta(microseconds=…) costs twice as much
