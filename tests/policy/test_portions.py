"""Processes share a site's connections: never more than the limit, half each if both need them."""

import random
from datetime import timedelta

import pytest

from postroad.policy.limits.portions import (
    Claim,
    SiteDemand,
    SitePortion,
    decode,
    encode,
    largest,
    portioned,
    without,
)
from postroad.policy.model import Rate, SiteLimits

LIMITS = SiteLimits(connections=10)


def claim(owner: str, holds: int, *, wants: bool = False, connections: int = 10) -> Claim:
    return Claim(owner, SiteLimits(connections=connections), holds, wants)


def demand(owner: str, busy: int = 0, *, wants: bool = True, held: int = 0) -> SiteDemand:
    return SiteDemand(owner, LIMITS, busy, wants, held)


def held(portion: SitePortion) -> dict[str, int]:
    return {each.owner: each.holds for each in portion.claims}


def test_one_who_is_alone_has_all_and_never_writes_again() -> None:
    first = portioned((), demand("a", wants=False))
    assert (held(first), first.connections) == ({"a": 10}, 10)
    assert portioned(first.claims, demand("a", busy=10)).claims == first.claims


def test_a_newcomer_gets_nothing_before_the_other_has_given_it_up() -> None:
    first = portioned((claim("a", 10),), demand("b"))
    assert (held(first), first.connections) == ({"a": 10, "b": 0}, 0)
    busy = portioned(first.claims, demand("a", busy=8))
    assert (held(busy), busy.connections) == ({"a": 8, "b": 0}, 5), "it has to end three"
    gave = portioned(busy.claims, demand("a", busy=5))
    assert held(portioned(gave.claims, demand("b"))) == {"a": 5, "b": 5}


def test_who_needs_less_than_half_leaves_the_rest_to_the_other() -> None:
    both = (claim("a", 5, wants=True), claim("b", 5))
    claims = portioned(both, demand("b", busy=1, wants=False)).claims
    assert held(portioned(claims, demand("a", busy=5))) == {"a": 9, "b": 1}


def test_what_is_left_is_not_given_up_while_nobody_wants_it() -> None:
    claims = (claim("a", 5), claim("b", 5))
    assert portioned(claims, demand("a", busy=1, wants=False)).claims == claims


def test_one_connection_goes_from_hand_to_hand() -> None:
    claims: tuple[Claim, ...] = ()
    turns = []
    for number in range(12):
        owner = "ab"[number % 2]
        before = held(portioned(claims, demand("-"))).get(owner, 0) if claims else 0
        portion = portioned(claims, SiteDemand(owner, SiteLimits(connections=1), 0, wants=True))
        claims = portion.claims
        assert sum(held(portion).values()) <= 1
        if held(portion)[owner] and not before:
            turns.append(owner)
    assert turns[:4] in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_all_together_keep_the_largest_limits() -> None:
    few = SiteLimits(connections=2, message_rate=Rate(5, timedelta(minutes=1)))
    portion = portioned((claim("a", 4),), SiteDemand("b", few, 0, wants=True))
    assert held(portion) == {"a": 4, "b": 6}
    assert portion.limits.message_rate is None
    alone = portioned(without(portion.claims, "a"), SiteDemand("b", few, 0, wants=True))
    assert (held(alone), alone.limits) == ({"b": 2}, few)


def test_limits_of_before_an_edit_count_for_nobody_where_nothing_is_sent_by_them() -> None:
    rated = SiteLimits(connections=6, message_rate=Rate(5, timedelta(minutes=1)))
    before = Claim("a", LIMITS, 1, wants=False, outdated=True)
    assert portioned((before,), SiteDemand("b", rated, 0, wants=True)).limits == rated
    agreed = portioned((claim("b", 1),), SiteDemand("a", rated, 0, wants=False, outdated=True))
    assert agreed.limits == claim("b", 1).limits
    assert decode(encode("site", agreed.claims))[1] == agreed.claims


def test_a_claim_of_an_older_release_counts() -> None:
    record = encode("site", (claim("a", 4),)).replace(b', "outdated": false', b"")
    assert b"outdated" not in record
    assert decode(record)[1] == (claim("a", 4),)


def test_nobody_gets_more_than_he_held_while_claims_may_be_missing() -> None:
    assert held(portioned((), demand("a", busy=3, held=4), certain=False)) == {"a": 4}
    assert held(portioned((), demand("b"), certain=False)) == {"b": 0}


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_no_more_are_open_than_the_limit(seed: int) -> None:
    """Processes that open and close connections as they like, within their portions."""
    dice = random.Random(seed)
    most = dice.choice([1, 2, 3, 10])
    limits = SiteLimits(connections=most)
    owners = [f"p{number}" for number in range(dice.choice([2, 2, 3]))]
    may, busy, record = dict.fromkeys(owners, 0), dict.fromkeys(owners, 0), b""
    served = dict.fromkeys(owners, 0)
    for _ in range(600):
        owner = dice.choice(owners)
        if dice.random() < 0.4:
            claims = decode(record)[1]
            wants = busy[owner] >= may[owner]
            portion = portioned(claims, SiteDemand(owner, limits, busy[owner], wants))
            record, may[owner] = encode("site", portion.claims), portion.connections
        elif busy[owner] < may[owner]:
            busy[owner] += 1
            served[owner] += 1
        elif busy[owner]:
            busy[owner] -= 1
        assert sum(busy.values()) <= most
    assert 4 * min(served.values()) > max(served.values()), served


def test_limits_are_as_large_as_the_largest_in_each_respect() -> None:
    slow = SiteLimits(connections=30, message_rate=Rate(100, timedelta(hours=1)))
    quick = SiteLimits(connections=5, message_rate=Rate(2, timedelta(minutes=1)))
    both = largest([slow, quick])
    assert (both.connections, both.message_rate) == (30, quick.message_rate)
    assert largest([slow, quick, SiteLimits()]).message_rate is None


def test_a_record_is_read_as_it_was_written() -> None:
    rated = SiteLimits(3, messages_per_connection=7, message_rate=Rate(5, timedelta(seconds=90)))
    claims = (claim("a", 4, wants=True), Claim("b", rated, 1, wants=False))
    assert decode(encode("mx.test", claims)) == ("mx.test", claims)
    assert decode(b"") == decode(b'{"site": 1}') == ("", ())


def test_connections_that_are_kept_open_are_not_given_up_before_they_end() -> None:
    both = (claim("a", 8), claim("b", 2, wants=True))
    asked = SiteDemand("a", LIMITS, busy=1, wants=False, idle=7)
    portion = portioned(both, asked)
    assert held(portion) == {"a": 8, "b": 2}
    assert portion.connections < 8, "it has to end some"
