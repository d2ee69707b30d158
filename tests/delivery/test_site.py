"""The waiting records of a site: transactional first, limited, untried while it is down."""

from datetime import timedelta

from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import Rate, SiteLimits
from postroad_harness.setups.delivery.site import at_work, begin, name, site, waiting, work


def test_transactional_goes_before_bulk_and_each_in_its_order() -> None:
    room = site()
    for each, traffic_class in (("b1", "b"), ("x1", "x"), ("b2", "b"), ("x2", "x")):
        room.add(waiting(each, TrafficClass(traffic_class)), 100.0)
    assert [name(room.next()) for _ in range(5)] == ["x1", "x2", "b1", "b2", ""]


def test_a_way_out_whose_connections_become_fewer_ends_some_whatever_another_may_use() -> None:
    total: SiteTotal[Site] = SiteTotal("mx.test")
    two = [Site(relay, SiteLimiter(SiteLimits()), Shares(40), total) for relay in ("r:a", "r:b")]
    for each in two:
        each.add(waiting("a"), 100.0)
        each.occupy()
        each.occupy()
    two[0].adopt(SiteLimits(connections=1))
    assert [each.has_too_many for each in two] == [True, False]


def test_a_site_does_not_move_because_its_silent_attempts_are_given_up() -> None:
    room = site(room=1000)
    now = at_work(room, 400, seconds=3)
    for each in ("a", "b"):
        room.add(waiting(each), now)
    two = [begin(room, now) for _ in range(2)]
    room.occupy()
    for given_up in two:
        room.ended(given_up, now + 30.0, 30.0, silence=30.0)
        assert not room.moves(now + 30.0)
    for second in range(6):
        room.add(waiting("a"), now + 40.0 + second)
        work(room, now + 40.0 + second, 0.1)
    assert room.moves(now + 46.0), "its host is back"


def test_a_site_is_idle_when_nothing_waits_and_nothing_is_under_way() -> None:
    room = site()
    assert room.idle
    room.add(waiting("a"), 100.0)
    assert not room.idle
    room.next()
    room.occupy()
    assert not room.idle


def test_a_record_that_was_refused_is_the_next_and_costs_nothing_of_the_rate() -> None:
    rate = Rate(1, timedelta(hours=1))
    limiter = SiteLimiter(SiteLimits(message_rate=rate))
    room = Site("relay:a/b", limiter, Shares(4), SiteTotal("host", by_mx=False))
    for each in ("first", "second"):
        room.add(waiting(each), 100.0)
    refused = begin(room, 100.0)
    room.take_back(refused)
    room.put_back(refused)
    assert room.next_start(101.0) == 101.0
    assert name(room.next()) == "first"
