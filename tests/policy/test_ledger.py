"""Leased slices: never more than the limit, all quotas or none, and few questions."""

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.policy.limits.quota_ledger import Exceeded, Ledger, Needs, Spent
from postroad.policy.model import (
    QuotaUnit,
)
from postroad_harness.setups.quotas import START, Usage, quota, send, wanted


def test_exactly_the_limit_goes_through() -> None:
    ledger, usage = Ledger(), Usage()
    outcomes = [send(ledger, usage, wanted(quota(10)), START) for _ in range(12)]
    assert [isinstance(each, Spent) for each in outcomes] == [True] * 10 + [False] * 2
    last = outcomes[-1]
    assert isinstance(last, Exceeded)
    assert last.demand.limit.maximum == 10


def test_exactly_the_limit_goes_through_several_processes_together() -> None:
    usage = Usage()
    ledgers = [Ledger() for _ in range(3)]
    now, accepted = START, 0
    for turn in range(3000):
        now += timedelta(milliseconds=1)
        outcome = send(ledgers[turn % 3], usage, wanted(quota(2000), now=now), now)
        accepted += isinstance(outcome, Spent)
    assert accepted == 2000


def test_a_busy_process_leases_seldom() -> None:
    ledger, usage = Ledger(), Usage()
    now = START
    for _ in range(10_000):
        now += timedelta(milliseconds=1)
        assert isinstance(send(ledger, usage, wanted(quota(10**6), now=now), now), Spent)
    assert usage.calls < 100


def test_a_slow_process_holds_nothing_it_does_not_need() -> None:
    ledger, usage = Ledger(), Usage()
    now = START
    for sent in range(1, 20):
        now += timedelta(seconds=10)
        assert isinstance(send(ledger, usage, wanted(quota(10**6), now=now), now), Spent)
        assert set(usage.used.values()) == {sent}


def test_near_the_limit_nobody_sits_on_what_another_could_send() -> None:
    usage, fast, slow = Usage(), Ledger(), Ledger()
    now = START
    for _ in range(990):
        now += timedelta(milliseconds=1)
        assert isinstance(send(fast, usage, wanted(quota(1000), now=now), now), Spent)
    assert sum(usage.used.values()) <= 992
    for _ in range(8):
        assert isinstance(send(slow, usage, wanted(quota(1000), now=now), now), Spent)


def test_all_quotas_are_taken_from_or_none() -> None:
    ledger, usage = Ledger(), Usage()
    both = (quota(10), quota(5, QuotaUnit.RECIPIENTS))
    assert isinstance(send(ledger, usage, wanted(*both, recipients=3), START), Spent)
    refused = send(ledger, usage, wanted(*both, recipients=3), START)
    assert isinstance(refused, Exceeded)
    assert refused.demand.limit.unit is QuotaUnit.RECIPIENTS
    # What the refused message did not take serves smaller ones: 2 recipients, 9 messages are left.
    assert isinstance(send(ledger, usage, wanted(*both, recipients=2), START), Spent)
    for _ in range(8):
        assert isinstance(send(ledger, usage, wanted(both[0]), START), Spent)
    assert isinstance(send(ledger, usage, wanted(both[0]), START), Exceeded)


def test_a_message_larger_than_the_limit_never_fits_and_asks_nobody() -> None:
    asked = wanted(quota(5, QuotaUnit.RECIPIENTS), recipients=6)
    assert isinstance(Ledger().try_spend(asked, START), Exceeded)


def test_a_limit_of_none_lets_nothing_through() -> None:
    assert isinstance(Ledger().try_spend(wanted(quota(0)), START), Exceeded)


def test_an_exhausted_count_is_not_asked_for_with_every_message() -> None:
    ledger, usage = Ledger(), Usage()
    assert isinstance(send(ledger, usage, wanted(quota(1)), START), Spent)
    now = START
    for _ in range(1000):
        now += timedelta(milliseconds=1)
        assert isinstance(send(ledger, usage, wanted(quota(1), now=now), now), Exceeded)
    assert usage.calls <= 3
    usage.used.clear()  # another process gave back
    now += timedelta(seconds=1)
    assert isinstance(send(ledger, usage, wanted(quota(1), now=now), now), Spent)


def test_a_new_window_has_its_own_allowance() -> None:
    ledger, usage = Ledger(), Usage()
    assert isinstance(send(ledger, usage, wanted(quota(1)), START), Spent)
    later = START + timedelta(hours=1)
    assert isinstance(send(ledger, usage, wanted(quota(1), now=later), later), Spent)
    assert ledger.idle(later) == []  # and what was of the old one is forgotten
    assert len(usage.used) == 2


def test_a_lease_that_failed_is_asked_for_again() -> None:
    ledger = Ledger()
    asked = wanted(quota(10))
    outcome = ledger.try_spend(asked, START)
    assert isinstance(outcome, Needs)
    ledger.failed(outcome.leases[0])
    assert isinstance(send(ledger, Usage(), asked, START), Spent)


def test_a_lease_that_is_answered_late_is_still_good() -> None:
    ledger, usage = Ledger(), Usage()
    outcome = ledger.try_spend(wanted(quota(10)), START)
    assert isinstance(outcome, Needs)
    later = START + timedelta(seconds=6)
    assert ledger.idle(later) == []
    ledger.granted(outcome.leases[0], usage.lease(outcome.leases[0]), later)
    assert isinstance(ledger.try_spend(wanted(quota(10)), later), Spent)


def test_concurrent_sessions_do_not_lease_a_slice_each() -> None:
    ledger, usage = Ledger(), Usage()
    now = START
    for _ in range(2000):
        now += timedelta(milliseconds=1)
        send(ledger, usage, wanted(quota(10**6), now=now), now)
    amounts: list[int] = []
    while len(amounts) < 10:  # spend what is left of the slice, then ask without being answered
        outcome = ledger.try_spend(wanted(quota(10**6), now=now), now)
        if isinstance(outcome, Needs):
            amounts.append(outcome.leases[0].amount)
    assert amounts[0] > 50
    assert amounts[1:] == [1] * 9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 300), st.sampled_from([1, 5, 60]))
def test_never_more_than_the_limit_whatever_happens(
    seed: int, processes: int, maximum: int, seconds: int
) -> None:
    """Processes with clocks apart send, are refused, wait, crash, and lose answers."""
    chance = random.Random(seed)
    usage = Usage()
    ledgers = [Ledger() for _ in range(processes)]
    skews = [timedelta(seconds=chance.uniform(-2, 2)) for _ in range(processes)]
    limits = (
        quota(maximum, seconds=seconds),
        quota(maximum, QuotaUnit.RECIPIENTS, seconds=seconds),
    )
    spent: dict[str, int] = {}
    now = START
    for _ in range(400):
        now += timedelta(seconds=chance.expovariate(20))
        which = chance.randrange(processes)
        ledger, clock = ledgers[which], now + skews[which]
        asked = wanted(*limits, now=clock, recipients=chance.choice([1, 1, 2, 10]))
        outcome = ledger.try_spend(asked, clock)
        while isinstance(outcome, Needs):
            for lease in outcome.leases:
                granted = usage.lease(lease)
                if chance.random() < 0.02:
                    ledger.failed(lease)  # the answer was lost: what it granted is wasted
                else:
                    ledger.granted(lease, granted, clock)
            outcome = ledger.try_spend(asked, clock)
        if isinstance(outcome, Spent):
            if chance.random() < 0.2:
                ledger.refund(outcome, clock)
            else:
                for demand in outcome.demands:
                    spent[demand.key] = spent.get(demand.key, 0) + demand.amount
        fate = chance.random()
        if fate < 0.01:
            ledgers[which] = Ledger()  # crashed: its slices are wasted
        elif fate < 0.3:
            usage.give_back(ledger.idle(clock))
        elif fate < 0.32:
            usage.give_back(ledger.close(clock))
    for key, total in spent.items():
        assert total <= usage.used[key] <= maximum


@pytest.mark.parametrize("maximum", [1, 7, 100])
def test_the_whole_limit_can_be_used_by_whoever_comes(maximum: int) -> None:
    """However slices were cut, patience gets every unit of a window to somebody."""
    usage, chance = Usage(), random.Random(maximum)
    ledgers = [Ledger() for _ in range(4)]
    now, accepted = START, 0
    for _ in range(maximum * 40):
        now += timedelta(milliseconds=500)
        for each in ledgers:
            usage.give_back(each.idle(now))
        outcome = send(chance.choice(ledgers), usage, wanted(quota(maximum), now=now), now)
        accepted += isinstance(outcome, Spent)
    assert accepted == maximum


def test_what_is_smaller_than_what_was_refused_is_asked_for() -> None:
    ledger, usage, of_three = Ledger(), Usage(), quota(3, QuotaUnit.RECIPIENTS)
    assert isinstance(send(ledger, usage, wanted(of_three, recipients=2), START), Spent)
    refused = send(ledger, usage, wanted(of_three, recipients=2), START)
    assert isinstance(refused, Exceeded)
    ledger.learned(refused.demand, exhausted=True)
    calls = usage.calls
    assert isinstance(send(ledger, usage, wanted(of_three, recipients=2), START), Exceeded)
    assert usage.calls == calls
    assert isinstance(send(ledger, usage, wanted(of_three, recipients=1), START), Spent)


def test_that_a_count_was_used_up_is_asked_again_when_it_refuses_again() -> None:
    """Meanwhile others may have given back; for good is refused only what is certain now."""
    ledger, usage = Ledger(), Usage()
    asked = wanted(quota(1))
    send(ledger, usage, asked, START)
    assert isinstance(send(ledger, usage, asked, START), Exceeded)
    ledger.learned(asked[0], exhausted=True)
    again = send(ledger, usage, asked, START + timedelta(seconds=2))
    assert isinstance(again, Exceeded)
    assert again.certain is None
