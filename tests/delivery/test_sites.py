"""The sites of a process: their smarthosts change while pools share them."""

from postroad.delivery.sites.site import Site
from postroad.delivery.sites.sites import Sites
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.model import EgressPath, Smarthost

ONE, OTHER = Smarthost("one.example", 25), Smarthost("other.example", 25)


def shared(total: SiteTotal[Site], _: str) -> None:
    total.share(1, ends=True)


def test_a_portion_of_former_smarthosts_is_none_of_the_new_ones() -> None:
    sites = Sites(100, shared)
    total = sites.of("relay:a", EgressPath("relay:a", (ONE,))).total
    total.lease(4, None)
    sites.of("relay:a", EgressPath("relay:a", (ONE,)))
    assert total.limiter.limits.connections == 4
    sites.of("relay:a", EgressPath("relay:a", (ONE, OTHER)))
    assert total.limiter.limits.connections == 0


def test_a_pause_of_the_process_is_told_from_the_silence_of_a_site() -> None:
    sites = Sites(100, lambda *_: None)
    site = sites.of("relay:a", EgressPath("relay:a", (ONE,)))
    site.pace.wakes(1000.0)
    for second in range(1000, 1020):
        sites.count_shares(second)
    assert site.pace.still(1019.0) == 19.0, "it was silent"
    assert site.pace.still(1600.0) == 19.0, "this process was paused"


def test_what_is_in_use_at_withdrawn_smarthosts_is_shared_too() -> None:
    """The Relay may move to another pool before they are back."""
    sites = Sites(100, lambda *_: None)
    site = sites.of("relay:a", EgressPath("relay:a", (ONE,)))
    site.limiter.connections = site.total.limiter.connections = 3
    sites.of("relay:a", EgressPath("relay:a", (OTHER,)))
    assert sites.of("relay:a", EgressPath("relay:a", (OTHER,))) is not site
    assert {total.limiter.connections for total in sites.totals} == {0, 3}
