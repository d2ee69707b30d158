"""A site's limits are exact: connections at a time, and messages in any window."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.delivery.sites.limits import SiteLimiter
from postroad.policy.model import Rate, SiteLimits


def limiter(count: int = 3, seconds: float = 10, connections: int = 2) -> SiteLimiter:
    rate = Rate(count, timedelta(seconds=seconds))
    return SiteLimiter(SiteLimits(connections=connections, message_rate=rate))


def test_no_more_connections_than_allowed() -> None:
    site = limiter(connections=2)
    assert site.has_slot
    site.connections = 2
    assert not site.has_slot
    site.adopt(SiteLimits(connections=3))
    assert site.has_slot


def test_without_a_rate_every_moment_will_do() -> None:
    site = SiteLimiter(SiteLimits())
    for _ in range(1000):
        assert site.next_start(5.0) == 5.0
        site.begin(5.0)


def test_a_start_is_remembered_until_it_has_left_the_window() -> None:
    site = limiter(count=3, seconds=10)
    assert not site.remembers(0.0)
    site.begin(1.0)
    assert site.next_start(2.0) == 2.0
    assert site.remembers(2.0), "two more could begin, and not three"
    assert not site.remembers(11.0)


def test_the_window_slides() -> None:
    site = limiter(count=3, seconds=10)
    for moment in (0.0, 4.0, 5.0):
        assert site.next_start(moment) == moment
        site.begin(moment)
    assert site.next_start(5.0) == 10.0
    assert site.next_start(10.0) == 10.0
    site.begin(10.0)
    assert site.next_start(10.0) == 14.0


@pytest.mark.parametrize(("count", "expected"), [(1, 12.0), (2, 11.0), (5, 2.5)])
def test_other_limits_count_what_was_begun_before(count: int, expected: float) -> None:
    site = limiter(count=3, seconds=10)
    for moment in (0.0, 1.0, 2.0):
        site.begin(moment)
    site.adopt(SiteLimits(message_rate=Rate(count, timedelta(seconds=10))))
    assert site.next_start(2.5) == expected


@given(
    count=st.integers(1, 5),
    window=st.floats(0.5, 20),
    waits=st.lists(st.floats(0, 10), max_size=60),
)
def test_no_window_ever_holds_more_than_its_count(
    count: int, window: float, waits: list[float]
) -> None:
    site = limiter(count=count, seconds=window)
    length = timedelta(seconds=window).total_seconds()
    now, starts = 1000.0, []
    for wait in waits:
        now = max(now + wait, site.next_start(now + wait))
        site.begin(now)
        starts.append(now)
    for earlier, later in zip(starts, starts[count:], strict=False):
        assert later - earlier >= length - 1e-9


def test_where_messages_are_leased_none_begins_without_a_slice() -> None:
    rate = Rate(3, timedelta(seconds=10))
    site = SiteLimiter(SiteLimits(message_rate=rate), leased=True)
    assert site.needs_slice(0.0)
    site.lease(2, until=5.0)
    assert site.next_start(1.0) == 1.0
    site.begin(1.0)
    site.take_back(1.0)
    site.begin(2.0)
    site.begin(3.0)
    assert site.needs_slice(3.0)
    site.lease(2, until=5.0)
    assert site.needs_slice(5.0), "a slice has an end"
    site.lease(2, until=9.0)
    site.begin(5.0)
    assert site.next_start(6.0) == 12.0, "its own count holds beside it"
