"""A process's places are shared: slow sites get only part of them, however many there are."""

import pytest

from postroad.delivery.sites.shares import Shares


@pytest.mark.parametrize("sites", [1, 2, 10, 50, 500, 5000])
def test_sites_that_do_not_move_leave_places_to_those_that_do(sites: int) -> None:
    shares = Shares(1500)
    held = [0] * sites
    for _ in range(50):
        shares.recount(held)
        for site, count in enumerate(held):
            if count < shares.allowance(count, young=False):
                shares.comes(1, first=not count)
                held[site] += 1
    assert sum(held) <= 750, "half of all places, which is all that one lane is given"


def test_one_more_site_finds_a_place_while_others_have_all_that_is_theirs() -> None:
    shares = Shares(1500)
    shares.recount([5] * 100)
    assert shares.allowance(5, young=False) < 6
    assert shares.allowance(0, young=False) >= 1
    assert shares.allowance(0, young=True) >= 1


def test_new_sites_that_come_together_leave_places_to_each_other() -> None:
    shares = Shares(1500)
    counts = []
    for _ in range(5):
        held = 0
        while held < shares.allowance(held, young=True):
            shares.comes(1, first=not held)
            held += 1
        counts.append(held)
    assert counts[0] == 750, "what one site needs to be fast from the start"
    assert sum(counts) <= 1125
    assert all(counts)


def test_hosts_are_hurried_only_where_slow_sites_are_many() -> None:
    shares = Shares(1500)
    shares.recount([5] * 20)
    assert not shares.is_scarce
    shares.recount([5] * 200)
    assert shares.is_scarce
