"""Processes keep a message rate together, one after another or at once, by leased slices."""

import random
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from postroad.policy.limits.slices import (
    Record,
    Slice,
    completed,
    decode,
    encode,
    lease,
    noted,
    size_of,
)
from postroad.policy.model import Rate

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
RATE = Rate(100, MINUTE)


def starts(count: int, at: datetime = NOW) -> list[datetime]:
    return [at] * count


def test_a_slice_is_a_tenth_and_at_least_one() -> None:
    assert [size_of(Rate(count, MINUTE)) for count in (1, 9, 10, 25, 1000)] == [1, 1, 1, 2, 100]


def test_one_who_is_alone_is_given_slice_after_slice() -> None:
    record = Record()
    for sent in range(0, 200, 10):
        leased = lease(record, RATE, "a", starts(min(sent, 100)), NOW)
        assert leased.count == 10
        record = leased.record


def test_the_next_owner_goes_on_with_the_window_as_it_is() -> None:
    record = lease(Record(), RATE, "a", starts(80), NOW).record  # 80 sent, and 10 it may have
    after = lease(record, RATE, "b", [], NOW + SECOND)
    assert after.count == 10
    full = lease(after.record, RATE, "b", starts(10, NOW + SECOND), NOW + 2 * SECOND)
    assert (full.count, full.until) == (0, NOW + MINUTE)
    assert lease(full.record, RATE, "b", starts(10, NOW + SECOND), NOW + MINUTE).count == 10


def test_a_slice_that_was_not_used_counts_as_sent() -> None:
    rate = Rate(1, MINUTE)
    leased = lease(Record(), rate, "a", [], NOW)
    assert leased.until == NOW + MINUTE / 10
    assert lease(leased.record, rate, "b", [], NOW).until == leased.until + MINUTE


def test_what_is_noted_replaces_what_its_owner_said_and_drops_what_is_over() -> None:
    record = Record((Slice("a", 3, NOW), Slice("gone", 9, NOW - MINUTE), Slice("b", 2, NOW)))
    granted = Slice("a", 10, NOW + SECOND)
    after = noted(record, RATE, "a", starts(4), NOW, [granted])
    assert after.slices == (Slice("b", 2, NOW), Slice("a", 4, NOW), granted)


def test_a_record_is_completed_by_owners_of_whom_it_says_nothing() -> None:
    record = Record((Slice("a", 3, NOW),))
    after = completed(record, [Slice("a", 9, NOW), Slice("b", 2, NOW), Slice("b", 1, NOW)])
    assert after.slices == (Slice("a", 3, NOW), Slice("b", 2, NOW), Slice("b", 1, NOW))


def test_who_waits_is_served_before_who_has_had_a_slice() -> None:
    rate = Rate(1, MINUTE)
    record = lease(Record(), rate, "a", [], NOW).record
    waiting = lease(record, rate, "b", [], NOW + SECOND)
    assert waiting.count == 0
    later = NOW + timedelta(seconds=70)
    # Its own message has left the window, but the turn is the other's.
    assert lease(waiting.record, rate, "a", [], later).count == 0
    assert lease(waiting.record, rate, "b", [], later).count == 1


def test_a_place_in_the_line_is_void_when_its_owner_does_not_come() -> None:
    rate = Rate(1, MINUTE)
    record = lease(Record(), rate, "a", [], NOW).record
    waiting = lease(record, rate, "b", [], NOW + SECOND)
    assert lease(waiting.record, rate, "a", [], waiting.until + timedelta(seconds=6)).count == 1


def test_nothing_is_leased_while_what_others_wrote_may_be_missing() -> None:
    leased = lease(Record(), RATE, "a", starts(3), NOW, certain=False)
    assert leased.count == 0
    assert [each.count for each in leased.record.slices] == [3]


@pytest.mark.parametrize("seed", range(40))
def test_no_window_has_more_starts_than_the_limit(seed: int) -> None:
    """Owners that come, send as much as they may or little, and die without a word."""
    dice = random.Random(seed)
    rate = Rate(dice.choice([1, 2, 7, 20, 100]), dice.choice([SECOND, 10 * SECOND, MINUTE]))
    owners = [_Owner(f"p{n}") for n in range(dice.choice([1, 2, 3]))]
    record, now, sent = b"", NOW, deque[datetime]()
    for step in range(1500):
        now += rate.window * dice.choice([0.0, 0.001, 0.01, 0.1])
        at = dice.randrange(len(owners))
        if dice.random() < 0.01:
            owners[at] = _Owner(f"q{step}")
        record, started = owners[at].send(record, rate, now)
        while sent and sent[0] <= now - rate.window:
            sent.popleft()
        sent += [now] * started
        assert len(sent) <= rate.count


@pytest.mark.parametrize("count", [1, 2, 30])
def test_two_who_both_want_share_by_half(count: int) -> None:
    rate = Rate(count, 10 * SECOND)
    owners, record, now = [_Owner("a"), _Owner("b")], b"", NOW
    sent = {"a": 0, "b": 0}
    for step in range(6000):
        now += timedelta(milliseconds=100)
        owner = owners[step % 2]
        if now < owner.again:
            continue
        record, started = owner.send(record, rate, now)
        sent[owner.name] += started
    assert min(sent.values()) > 0.4 * sum(sent.values())
    assert sum(sent.values()) > 0.6 * count * 60


class _Owner:
    """A process that counts its own starts exactly, and sends all it may."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.again = NOW
        self._starts: list[datetime] = []
        self._left, self._until = 0, NOW

    def send(self, record: bytes, rate: Rate, now: datetime) -> tuple[bytes, int]:
        self._starts = [at for at in self._starts if at + rate.window > now]
        if not self._left or now >= self._until:
            leased = lease(decode(record), rate, self.name, self._starts, now)
            record, self._left, self._until = encode(leased.record), leased.count, leased.until
            self.again = now if leased.count else leased.until
        started = min(self._left, rate.count - len(self._starts))
        self._starts += [now] * started
        self._left -= started
        return record, started


def test_a_record_is_read_as_it_was_written() -> None:
    record = lease(Record(), RATE, "a", starts(15), NOW).record
    waiting = lease(lease(record, RATE, "c", starts(80), NOW).record, RATE, "b", [], NOW).record
    assert decode(encode(waiting)) == waiting
    assert decode(b"") == decode(b'{"slices": [1]}') == Record()
