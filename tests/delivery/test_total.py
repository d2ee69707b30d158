"""Several ways out to one site: together they keep the largest of their limits."""

from collections import Counter
from datetime import timedelta

from postroad.delivery.total import SiteTotal, largest
from postroad.policy.model import Rate, SiteLimits

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_the_largest_limit_counts_in_each_respect() -> None:
    slow = SiteLimits(connections=30, message_rate=Rate(100, HOUR))
    quick = SiteLimits(connections=5, message_rate=Rate(2, MINUTE))
    both = largest(Counter([slow, quick]))
    assert (both.connections, both.message_rate) == (30, Rate(2, MINUTE))
    assert largest(Counter([slow, quick, SiteLimits()])).message_rate is None


def test_only_who_sends_counts() -> None:
    total: SiteTotal[str] = SiteTotal("mx.test")
    few, many = SiteLimits(connections=2), SiteLimits(connections=8)
    total.joins(few)
    total.joins(many)
    assert total.limiter.limits.connections == 8
    total.leaves(many)
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
