"""The table of records in hand, of messages that have several: decisions without I/O."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.spool.jetstream.in_flight import Arrival, InFlight, InFlightEntry, LeasedMessage
from postroad.spool.lanes.keys import Key, QueueStream

PACK, OTHER = Key(QueueStream.INTAKE, 0, 7), Key(QueueStream.INTAKE, 0, 8)
ONE, TWO, THREE = (PACK._replace(part=part) for part in (1, 2, 3))
ALL = (ONE, TWO, THREE)
Hand = InFlight[str]


def in_hand(*keys: Key, places: int = 10) -> tuple[Hand, LeasedMessage]:
    """Return a table with a pack of three records in hand, or of these."""
    hand: Hand = InFlight(places=places)
    return hand, take(hand, *(keys or ALL))


def take(hand: Hand, *keys: Key, reply: str = "first", at: float = 0.0) -> LeasedMessage:
    """Take a pack of three; of its records those that are left and named."""
    lease = hand.lease(PACK) or hand.open(PACK, reply, at, [1, 2, 3])
    for key in keys:
        if key.part in lease.left:
            hand.add(InFlightEntry(key, lease, 1, "mail", "lane"))
    return lease


def is_held(hand: Hand) -> bool:
    """Whether the pack was in the table; a message that comes is told so."""
    return hand.arrive(PACK, "again", 1.0) is Arrival.IN_HAND


@pytest.mark.parametrize("order", list(permutations(ALL)))
def test_a_pack_ends_with_its_last_record_whichever_that_is(order: tuple[Key, ...]) -> None:
    hand, _ = in_hand()
    for key in order[:-1]:
        assert not hand.is_last(key)
        assert hand.finish(key) is None
        assert is_held(hand), "it would be acknowledged"
    assert hand.is_last(order[-1])
    assert hand.finish(order[-1]) is None
    assert hand.arrive(PACK, "again", 1.0) is Arrival.FINISHED


def test_a_record_that_ends_twice_ends_once() -> None:
    hand, _ = in_hand()
    for _ in range(3):
        hand.finish(ONE)
    assert not hand.is_last(TWO)
    assert is_held(hand)
    hand.finish(TWO)
    assert hand.is_last(THREE)


def test_each_record_takes_places_of_its_own_until_it_ends() -> None:
    hand, _ = in_hand(places=4)
    assert (hand.room, hand.of_line("lane"), len(hand)) == (1, 3, 3)
    hand.end(ONE)
    hand.end(ONE)
    assert (hand.room, hand.of_line("lane")) == (2, 2)
    hand.finish(ONE)
    hand.drop(TWO)
    assert (hand.room, hand.of_line("lane"), len(hand)) == (3, 1, 1)


def test_a_pack_has_one_lease_and_one_reply() -> None:
    hand, lease = in_hand()
    assert hand.due(8.0, 7.0) == [lease]
    hand.confirm(PACK, 5.0)
    assert hand.due(8.0, 7.0) == []
    hand.finish(ONE)
    assert hand.arrive(PACK, "second", 6.0) is Arrival.IN_HAND
    assert {hand.get(key).lease.reply for key in (TWO, THREE)} == {"second"}  # type: ignore[union-attr]
    assert hand.get(ONE) is None


# ---------------------------------------------------------------- dropped records


def test_a_dropped_record_comes_again_with_the_pack_and_alone() -> None:
    hand, lease = in_hand()
    hand.drop(TWO)
    assert hand.take_dropped(PACK) == {2}
    assert hand.take_dropped(PACK) == set(), "it is attempted once"
    assert hand.take_dropped(OTHER) == set()
    take(hand, TWO)
    assert hand.get(TWO) is not None
    assert lease.left == {1, 2, 3}


def test_a_pack_is_not_finished_without_a_record_that_was_dropped() -> None:
    hand, _ = in_hand()
    hand.drop(TWO)
    hand.finish(ONE)
    assert not hand.is_last(THREE), "it would be acknowledged"
    hand.finish(THREE)
    assert hand.arrive(PACK, "again", 1.0) is Arrival.NEW
    assert take(hand).left == {2}


def test_the_lease_of_a_pack_runs_out_if_a_record_of_it_was_dropped() -> None:
    """Else the pack never came again, and the record with it."""
    hand, lease = in_hand()
    hand.drop(TWO)
    assert hand.due(100.0, 7.0) == []
    hand.take_dropped(PACK)
    assert hand.due(100.0, 7.0) == [lease]


# ---------------------------------------------------------------- given back


def test_a_pack_is_given_back_when_nothing_of_it_is_in_hand_any_more() -> None:
    hand, lease = in_hand()
    assert hand.give_back_later(ONE, 15.0) is None
    assert hand.give_back_later(TWO, 4.0) is None
    assert hand.finish(THREE) is lease
    assert lease.returns_after == 15.0, "the longest wait is everyone's"
    assert hand.arrive(PACK, "again", 1.0) is Arrival.NEW
    assert take(hand).left == {1, 2}


def test_a_pack_of_which_a_record_was_dropped_is_not_given_back() -> None:
    """The dropped one may be another process's by now, and the pack with it."""
    hand, _ = in_hand()
    hand.give_back_later(ONE, 15.0)
    hand.drop(TWO)
    assert hand.finish(THREE) is None


def test_a_pack_is_kept_while_what_has_ended_of_it_is_looked_up() -> None:
    hand: Hand = InFlight(places=3)
    lease = hand.open(PACK, "first", 0.0, [1, 2, 3])
    hand.pin(lease)
    assert is_held(hand), "a second look would begin"
    take(hand, ONE)
    hand.drop(ONE)
    assert is_held(hand)
    assert hand.unpin(lease) is None
    assert hand.arrive(PACK, "again", 1.0) is Arrival.NEW


def test_a_pack_of_which_nothing_is_left_is_finished() -> None:
    hand: Hand = InFlight(places=3)
    lease = hand.open(PACK, "first", 0.0, [1, 2, 3])
    hand.pin(lease)
    lease.left.clear()
    hand.unpin(lease)
    assert hand.arrive(PACK, "again", 1.0) is Arrival.FINISHED


STEPS = st.tuples(st.sampled_from(["finish", "end", "drop", "later", "come"]), st.sampled_from(ALL))


@given(st.lists(STEPS, max_size=30))
def test_no_pack_is_finished_before_all_its_records_are(steps: list[tuple[str, Key]]) -> None:
    """Whatever happens to them, and whenever the pack comes again."""
    hand, _ = in_hand(places=3)
    finished = set[Key]()
    for what, key in steps:
        held = hand.get(key) is not None
        match what:
            case "finish" if held:
                assert hand.is_last(key) == (finished == set(ALL) - {key})
                hand.finish(key)
                finished.add(key)
            case "end":
                hand.end(key)
            case "drop" if held:
                hand.drop(key)
            case "later" if held:
                hand.give_back_later(key, 1.0)
            case "come":
                came_again(hand)
        assert hand.room + sum(hand.get(each) is not None for each in ALL) >= 3
    assert (hand.arrive(PACK, "last", 9.0) is Arrival.FINISHED) == (finished == set(ALL))
    assert not any(hand.get(key) for key in finished)


def came_again(hand: Hand) -> None:
    match hand.arrive(PACK, "again", 1.0):
        case Arrival.IN_HAND:
            take(hand, *(PACK._replace(part=each) for each in hand.take_dropped(PACK)))
        case Arrival.NEW:
            take(hand, *ALL)
