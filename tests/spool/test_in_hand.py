"""The table of records in hand, and the owners of lanes: decisions without I/O, as tables."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.traffic import TrafficClass
from postroad.spool.agreement import SessionInfo
from postroad.spool.jetstream.in_flight import Arrival, InFlight, InFlightEntry
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.owners import (
    LaneKey,
    finder,
    unserved_pools,
    wanted_lanes,
    wanted_owner,
)
from postroad.spool.room import Room

A, B = Key(QueueStream.WAITING, 0, 1), Key(QueueStream.WAITING, 1, 1)


def table(places: int = 3) -> InFlight[str]:
    return InFlight(places=places)


def take(hand: InFlight[str], key: Key, places: int = 1, at: float = 0.0) -> None:
    lease = hand.lease(key.message) or hand.open(key, f"reply-{key}", at)
    hand.add(InFlightEntry(key, lease, places, "mail", "lane"))


def test_what_waits_only_for_its_acknowledgement_takes_no_room() -> None:
    hand = table(places=5)
    take(hand, A, places=2)
    take(hand, B, places=3)
    assert (hand.room, hand.of_line("lane")) == (0, 5)
    hand.end(A)
    assert (hand.room, hand.of_line("lane")) == (2, 3)
    assert hand.arrive(A, "second", 5.0) is Arrival.IN_HAND
    hand.finish(A)
    assert (hand.room, hand.of_line("lane")) == (2, 3)


def test_a_lease_is_no_older_for_a_record_that_was_sent_again_before() -> None:
    hand = table()
    take(hand, A, at=8.0)
    hand.arrive(A, "second", 5.0)
    assert hand.due(13.0, age=5.0) != []
    assert hand.due(12.9, age=5.0) == []


def test_a_record_that_comes_again_is_not_new() -> None:
    hand = table()
    assert hand.arrive(A, "first", 0.0) is Arrival.NEW
    take(hand, A)
    assert hand.arrive(A, "second", 5.0) is Arrival.IN_HAND
    held = hand.lease(A)
    assert held is not None
    assert (held.reply, held.confirmed) == ("second", 5.0)  # acknowledged where it came from last
    hand.finish(A)
    assert hand.arrive(A, "third", 9.0) is Arrival.FINISHED
    assert hand.arrive(B, "other shard", 9.0) is Arrival.NEW


def test_what_was_dropped_is_new_again() -> None:
    hand = table()
    take(hand, A)
    hand.drop(A)
    assert hand.arrive(A, "again", 1.0) is Arrival.NEW


def test_a_record_takes_the_places_that_its_octets_fill() -> None:
    room = Room(places=1500, octets=30_000_000)
    sizes = (0, 1, 20_000, 20_001, 100_000, 30_000_000, 90_000_000)
    assert [room.taken_by(size) for size in sizes] == [1, 1, 1, 2, 5, 1500, 1500]
    hand = table(places=room.places)
    take(hand, A, room.taken_by(29_990_000))
    assert hand.room == 0
    take(hand, B, room.taken_by(100_000))
    assert hand.room == 0, "one too large is taken, and nothing after it"
    hand.drop(A)
    assert hand.room == 1495


def test_bulk_and_a_lane_leave_places_to_others_whatever_their_mails_size() -> None:
    room = Room(places=1500, octets=30_000_000)
    assert room.left_for(TrafficClass.TRANSACTIONAL, free=1500, lane=0) == 750
    assert room.left_for(TrafficClass.BULK, free=1500, lane=0) == 563
    assert room.left_for(TrafficClass.TRANSACTIONAL, free=750, lane=750) == 0
    assert room.left_for(TrafficClass.BULK, free=375, lane=0) == 0
    assert room.left_for(TrafficClass.TRANSACTIONAL, free=375, lane=0) == 375


def test_transactional_of_a_lane_that_has_none_in_hand_is_asked_for_though_there_is_no_room() -> (
    None
):
    room = Room(places=1500, octets=30_000_000)
    assert room.left_for(TrafficClass.TRANSACTIONAL, free=0, lane=900, has_none=True) == 1
    assert room.left_for(TrafficClass.BULK, free=0, lane=900, has_none=True) == 0


def test_leases_are_due_by_their_last_confirmation() -> None:
    hand = table()
    take(hand, A, at=0.0)
    take(hand, B, at=6.0)
    assert [e.key for e in hand.due(8.0, 7.0)] == [A]
    hand.confirm(A, 7.5)
    hand.confirm(A, 3.0)  # an older answer that comes late takes nothing back
    assert hand.due(14.0, 7.0) == [hand.lease(B)]


def test_returns_are_counted_until_the_record_is_finished() -> None:
    hand = table()
    for times in (1, 2, 3):
        take(hand, A)
        assert hand.give_back(A) == times
    assert hand.returns(A) == 3
    assert hand.returns(B) == 0
    hand.finish(A)
    assert hand.returns(A) == 0


def session(name: str, pool: str = "default", *, consumer: bool = True) -> SessionInfo:
    return SessionInfo(name, "delivery", name, pool, 1, datetime.now(UTC), taking=consumer)


LANES = [f"p{number:02d}" for number in range(32)]
names = st.lists(st.text("abcdef0123456789", min_size=4, max_size=4), unique=True, max_size=8)


@given(members=names)
def test_every_lane_has_exactly_one_owner(members: list[str]) -> None:
    sessions = [session(name) for name in members]
    owned = [wanted_lanes(name, [], LANES, sessions) for name in members]
    together = [key for lanes in owned for key in lanes]
    assert len(together) == len(set(together))
    if members:
        assert set(together) == {LaneKey("default", lane) for lane in LANES}


@given(members=names.filter(lambda found: len(found) > 1))
def test_a_session_more_or_less_moves_only_its_own_lanes(members: list[str]) -> None:
    for lane in LANES:
        key = LaneKey("default", lane)
        owner = wanted_owner(key, members)
        for gone in members:
            left = [name for name in members if name != gone]
            if gone != owner:
                assert wanted_owner(key, left) == owner


def test_lanes_of_a_pool_without_members_go_to_default() -> None:
    sessions = [session("a"), session("b", "marketing")]
    mine = wanted_lanes("a", ["marketing", "deserted"], LANES, sessions)
    assert {key.pool for key in mine} == {"default", "deserted"}
    theirs = wanted_lanes("b", ["marketing", "deserted"], LANES, sessions)
    assert {key.pool for key in theirs} == {"marketing"}


def test_a_session_that_takes_nothing_owns_nothing() -> None:
    sessions = [session("a"), replace(session("b"), taking=False)]
    assert wanted_lanes("b", [], LANES, sessions) == set()
    assert len(wanted_lanes("a", [], LANES, sessions)) == len(LANES)


def test_who_cannot_read_all_objects_owns_lanes_only_where_nobody_else_can() -> None:
    stale = [
        replace(session(name, pool), stale=True) for name, pool in (("b", "default"), ("c", "m"))
    ]
    sessions = [session("a"), *stale]
    assert wanted_lanes("b", [], LANES, sessions) == set()
    assert {key.pool for key in wanted_lanes("a", [], LANES, sessions)} == {"default"}
    assert {key.pool for key in wanted_lanes("c", [], LANES, sessions)} == {"m"}
    assert len(wanted_lanes("b", [], LANES, stale)) == len(LANES)


def test_a_pool_that_one_session_found_mail_in_is_shared_out_among_all_of_default() -> None:
    looked = replace(session("a"), unserved=("gone",))
    sessions = [looked, session("b"), session("c", "marketing")]
    owned = [wanted_lanes(name, [], LANES, sessions) for name in "abc"]
    of_it = [{key for key in lanes if key.pool == "gone"} for lanes in owned]
    assert [bool(lanes) for lanes in of_it] == [True, True, False]
    assert sorted(of_it[0] | of_it[1]) == [LaneKey("gone", lane) for lane in LANES]
    assert not of_it[0] & of_it[1]


def test_what_a_session_found_that_takes_no_more_is_heeded_no_more() -> None:
    ending = replace(session("a"), unserved=("gone",), taking=False)
    lanes = wanted_lanes("b", [], LANES, [ending, session("b")])
    assert {key.pool for key in lanes} == {"default"}


def test_one_session_of_default_looks_for_pools_with_mail() -> None:
    ending = replace(session("a"), taking=False)
    others = [session("c"), session("d", "marketing"), session("b"), ending]
    assert finder(others) == "b"
    assert finder([session("d", "marketing"), ending]) is None


def test_a_pool_with_mail_is_unserved_when_no_session_takes_from_it() -> None:
    ending = replace(session("e", "ending"), taking=False)
    sessions = [session("a"), session("b", "marketing"), ending]
    found = unserved_pools({"gone", "default", "marketing", "ending"}, sessions)
    assert found == ("ending", "gone")


def test_nobody_owns_the_lanes_of_nobody() -> None:
    assert wanted_owner(LaneKey("default", "p00"), []) is None
