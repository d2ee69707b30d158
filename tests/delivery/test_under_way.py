"""The attempts under way at all sites of a process leave places to others."""

import pytest

from postroad.delivery.sites.under_way import PlacesUnderWay, SiteUnderWay

MOST = 1500


def begin_all(sites: list[SiteUnderWay], *, moves: bool, each: int) -> None:
    """Let all sites begin attempts in turn, as many as they may and `each` at most."""
    for _ in range(each):
        for site in sites:
            if site.of_all.has_place(site.places, 1, moves=moves, young=False):
                site.begins(1, moves=moves)


def new(every: PlacesUnderWay, count: int) -> list[SiteUnderWay]:
    return [SiteUnderWay(every) for _ in range(count)]


@pytest.mark.parametrize("count", [2, 25, 100, 250])
def test_sites_that_fall_silent_at_once_have_no_more_than_their_third(count: int) -> None:
    every = PlacesUnderWay(MOST)
    sites = new(every, count)
    begin_all(sites, moves=True, each=400)
    assert every.taken == 500
    assert {site.places for site in sites} <= set(range(2, 500))
    for site in sites:
        site.recount(moves=False)
    assert every.still == 500
    assert every.is_scarce
    begin_all(sites, moves=False, each=5)
    assert every.taken == 500, "they begin nothing more"


def test_sites_that_fall_silent_after_others_leave_places_too() -> None:
    every = PlacesUnderWay(MOST)
    for _ in range(4):
        sites = new(every, 50)
        begin_all(sites, moves=True, each=20)
        for site in sites:
            site.recount(moves=False)
    assert every.taken < MOST * 9 // 10


def test_a_site_that_moves_always_begins_its_first_attempt() -> None:
    every = PlacesUnderWay(MOST)
    begin_all(new(every, 900), moves=True, each=20)
    assert every.taken == 900
    assert every.has_place(0, 1, moves=True, young=False)
    assert not every.has_place(1, 1, moves=True, young=False)


def test_sites_that_are_silent_from_the_start_leave_first_attempts_to_new_ones() -> None:
    every = PlacesUnderWay(MOST)
    begin_all(new(every, 100), moves=False, each=20)
    assert every.still == 500
    assert every.has_place(0, 1, moves=False, young=False)
    begin_all(new(every, 1000), moves=False, each=20)
    assert every.still == 625
    assert every.has_place(0, 1, moves=False, young=True)


def test_a_site_that_moves_again_counts_so_at_once() -> None:
    every = PlacesUnderWay(MOST)
    site, other = new(every, 2)
    site.begins(30, moves=False)
    other.begins(6, moves=True)
    assert (every.taken, every.still, every.moving) == (36, 30, 1)
    site.ends(10, moves=True)
    assert (every.taken, every.still, every.moving) == (26, 0, 2)
    site.ends(20, moves=True)
    other.ends(6, moves=False)
    assert (every.taken, every.still, every.moving) == (0, 0, 0)


def test_a_process_with_few_places_has_no_parts() -> None:
    every = PlacesUnderWay(4)
    begin_all(new(every, 1), moves=False, each=4)
    assert every.taken == 4
