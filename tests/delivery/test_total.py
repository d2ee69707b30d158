"""Several ways out to one site: together they keep the largest of their limits."""

from datetime import timedelta

from postroad.delivery.total import SiteTotal
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
    total.share()
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
