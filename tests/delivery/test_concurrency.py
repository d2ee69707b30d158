"""The number of connections to a site: more while it answers, fewer when it refuses."""

from dataclasses import dataclass

from postroad.delivery.sites.concurrency import INITIAL, Concurrency


def test_a_site_that_answers_has_all_connections_after_two_rounds() -> None:
    site = Concurrency()
    for _ in range(2):
        for _ in range(site.window):
            site.answered(100.0, 20)
    assert site.window == 20
    site.answered(100.0, 20)
    assert site.window == 20, "never more than the limit"


def test_a_refusal_leaves_what_works() -> None:
    site = Concurrency(window=20)
    site.refused(100.0, 6)
    assert site.window == 6
    site.refused(100.1, 2)
    assert site.window == 2
    site.refused(100.2, 5)
    assert site.window == 2
    site.refused(100.3, 0)
    assert site.window == 1


def test_one_more_is_tried_after_a_while_and_after_twice_as_long_if_that_fails() -> None:
    site = Concurrency()
    site.refused(100.0, 2)
    now = 100.0
    tried: list[float] = []
    while len(tried) < 3:
        now += 0.1
        site.answered(now, 20)
        if site.window == 3:
            tried.append(now)
            site.refused(now, 2)
    assert 10 < tried[0] - 100 < 11
    assert 20 < tried[1] - tried[0] < 21
    assert 40 < tried[2] - tried[1] < 41


def test_a_site_that_bears_more_again_is_given_more_with_each_round() -> None:
    site = Concurrency()
    site.refused(100.0, 1)
    for _ in range(1 + 2 + 3 + 4):
        site.answered(111.0, 20)
    assert site.window == INITIAL


@dataclass(frozen=True)
class Connection:
    """A connection in use that showed something last at `moved_at`."""

    moved_at: float


def grown(site: Concurrency, began: float, until: float) -> list[float]:
    """Return when one more is tried in so many seconds in which nothing ends."""
    seconds = range(int(until - began) + 1)
    return [began + n for n in seconds if site.probes(began + n, float(n), 10.0)]


def test_where_all_hang_one_more_is_tried_soon_and_after_twice_as_long_each_time() -> None:
    site = Concurrency()
    site.in_use.add(Connection(80.0))
    site.refused(100.0, 1)
    assert grown(site, 100.0, 300.0) == [105.0, 115.0, 135.0, 175.0, 235.0, 295.0]
    site.answered(300.0, 20)
    assert grown(site, 300.0, 306.0) == [305.0]


def test_where_some_work_behind_a_refusal_no_more_are_tried_before_its_time() -> None:
    site = Concurrency()
    site.refused(100.0, 2)
    site.refused(111.0, 2)
    site.in_use |= {Connection(80.0), Connection(130.0)}
    assert grown(site, 111.0, 134.0) == [131.0]
    assert site.window == 3


def test_connections_work_that_showed_something_of_late() -> None:
    site = Concurrency()
    assert not site.works(100.0, 10.0)
    site.in_use.add(Connection(89.0))
    assert not site.works(100.0, 10.0)
    site.in_use.add(Connection(90.0))
    assert site.works(100.0, 10.0)
