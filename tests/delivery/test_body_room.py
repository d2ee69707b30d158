"""The memory for the content of large messages is bounded, and nobody takes all of it."""

import pytest

from postroad.delivery.body_room import BodyRoom, TakenRoom

CHUNK = 512 * 1024
MOST = 256 * CHUNK


def fill(room: BodyRoom, *names: str, sites: int = 1000, octets: int = CHUNK) -> int:
    """Take room for a namespace and a sender, at one new site after another; return how often."""
    namespace, sender = names
    taken = [room.take(namespace, sender, f"{sender}-{site}", octets) for site in range(sites)]
    return sum(each is not None for each in taken)


def test_a_sender_leaves_room_to_others_at_however_many_sites() -> None:
    room = BodyRoom(MOST)
    assert fill(room, "shop", "shop/a") == 96, "three quarters of the half of its namespace"
    assert fill(room, "shop", "shop/b") == 24, "three quarters of what the first one leaves"
    assert fill(room, "bank", "bank/a") > 48


def test_a_namespace_leaves_room_to_others_with_however_many_senders() -> None:
    room = BodyRoom(MOST)
    every = sum(fill(room, "shop", f"shop/{number}") for number in range(50))
    assert 120 <= every <= 128
    assert fill(room, "bank", "bank/a") >= 48


def test_a_sender_s_mail_to_a_silent_site_leaves_room_to_its_other_mail() -> None:
    room = BodyRoom(MOST)
    silent = [room.take("shop", "shop/a", "silent", CHUNK) for _ in range(200)]
    assert sum(each is not None for each in silent) == 48
    assert fill(room, "shop", "shop/a") == 48


def test_a_silent_site_leaves_room_to_others_whoever_sends_there() -> None:
    room = BodyRoom(MOST)
    silent = [room.take(f"n{n}", f"n{n}/a", "silent", CHUNK) for n in range(20) for _ in range(99)]
    assert sum(each is not None for each in silent) <= 128 + 20  # each has a first one
    assert fill(room, "bank", "bank/a") >= 20


def test_who_has_nothing_may_have_a_first_message_as_long_as_it_fits_in() -> None:
    room = BodyRoom(MOST)
    first = [room.take(f"n{n}", f"n{n}/a", f"site{n}", CHUNK) for n in range(300)]
    assert sum(each is not None for each in first) == 256
    assert room.taken == MOST


def test_room_that_is_given_back_can_be_taken_again() -> None:
    room = BodyRoom(MOST)
    taken: list[TakenRoom] = []
    while (more := room.take("shop", "shop/a", f"site{len(taken)}", CHUNK)) is not None:
        taken.append(more)
    for each in taken:
        each.give_back()
        each.give_back()  # which does nothing
    assert room.taken == 0
    assert fill(room, "shop", "shop/a") == len(taken)


@pytest.mark.parametrize("octets", [1, 20_000, CHUNK, 3 * CHUNK])
def test_no_more_is_taken_than_there_is(octets: int) -> None:
    room = BodyRoom(10 * CHUNK)
    for number in range(40):
        fill(room, f"n{number}", f"n{number}/a", sites=30, octets=octets)
        assert room.taken <= room.most


def test_a_small_room_lets_one_message_in() -> None:
    room = BodyRoom(CHUNK)
    taken = room.take("shop", "shop/a", "site", CHUNK)
    assert taken is not None
    assert room.take("bank", "bank/a", "site", 1) is None
    taken.give_back()
    assert room.take("bank", "bank/a", "site", CHUNK) is not None


def test_room_is_scarce_while_one_sender_has_all_that_it_may_have() -> None:
    room = BodyRoom(MOST)
    assert not room.is_scarce
    fill(room, "shop", "shop/a")
    assert room.is_scarce
