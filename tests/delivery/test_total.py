"""Several egress paths to one site: together they keep the largest of their limits."""

from datetime import timedelta

from postroad.delivery.sites.total import SiteTotal
from postroad.policy.model import Rate, SiteLimits


def test_only_who_sends_counts() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    few, many, some = (SiteLimits(connections=number) for number in (2, 8, 4))
    for limits in (few, many, some):
        total.joins(limits)
    assert total.limiter.limits.connections == 8, "the largest, not those of who came last"
    total.leaves(many)
    assert total.limiter.limits.connections == 4
    total.leaves(some)
    assert total.limiter.limits.connections == 2


def test_who_uses_more_than_an_even_part_makes_way_for_who_waits() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    for _ in range(4):
        total.joins(SiteLimits(connections=20))
    assert not total.makes_way("a", 20), "nobody waits"
    total.waits("b")
    assert total.makes_way("a", 6)
    assert not total.makes_way("a", 5)
    assert not total.makes_way("b", 20), "it would make way for itself"
    assert total.line() == ["b"]
    assert not total.makes_way("a", 20)


def test_of_a_shared_site_only_what_is_leased_is_used() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    rate = Rate(5, timedelta(minutes=1))
    total.joins(SiteLimits(connections=8, message_rate=rate))
    total.share(1, ends=False)
    assert not total.limiter.has_slot
    total.lease(3, rate)
    total.limiter.connections = 3
    assert not total.limiter.has_slot
    assert not total.has_too_many
    total.lease(2, rate)
    assert total.has_too_many
    total.joins(SiteLimits(connections=20))
    assert total.limiter.limits.connections == 2, "it has another limit, and no other portion"
    total.unshare()
    assert total.limiter.limits == SiteLimits(connections=20)


def test_a_rate_that_comes_in_with_an_edit_is_kept_before_anything_is_agreed_on() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    free, rated = SiteLimits(), SiteLimits(message_rate=Rate(5, timedelta(minutes=1)))
    total.joins(free)
    total.share(1, ends=False)
    total.lease(3, None)
    total.leaves(free)
    total.outdate()
    assert total.outdated
    total.joins(rated)
    assert not total.outdated
    assert total.limiter.limits.message_rate == rated.message_rate
    total.lease(3, None)
    assert total.limiter.limits.message_rate is None, "another pool's mail has none"


def test_what_began_by_our_own_rate_counts_when_it_is_that_of_all() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    rate = Rate(2, timedelta(minutes=1))
    total.joins(SiteLimits(message_rate=rate))
    total.share(1, ends=False)
    total.lease(3, None)
    for now in (0.0, 50.0, 70.0):
        total.begin(now)
    assert list(total.limiter.starts) == [50.0, 70.0], "no more are remembered than matter"
    total.lease(3, rate)
    assert total.limiter.next_start(71.0) == 110.0
