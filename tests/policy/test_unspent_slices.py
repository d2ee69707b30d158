"""What a process leased and does not need goes back, once, and what it took for nothing too."""

from datetime import timedelta

from postroad.policy.limits.quota_ledger import Exceeded, Ledger, Needs, Spent
from postroad.policy.model import (
    QuotaUnit,
)
from postroad_harness.setups.quotas import START, Usage, quota, send, wanted


def test_a_slice_that_was_leased_under_a_larger_limit_is_given_back_and_not_spent() -> None:
    ledger, usage, now = Ledger(), Usage(), START
    for _ in range(400):
        send(ledger, usage, wanted(quota(10_000)), now)
        now += timedelta(milliseconds=5)
    held = usage.used[wanted(quota(10_000))[0].key] - 400
    assert held > 0
    assert isinstance(send(ledger, usage, wanted(quota(300)), now), Exceeded)
    usage.give_back(ledger.idle(now))
    assert usage.used[wanted(quota(10_000))[0].key] == 400
    later = now + timedelta(seconds=2)
    outcomes = [send(ledger, usage, wanted(quota(402)), later) for _ in range(4)]
    assert [isinstance(each, Spent) for each in outcomes] == [True] * 2 + [False] * 2


def test_what_a_message_took_comes_back_when_it_is_not_accepted() -> None:
    ledger, usage = Ledger(), Usage()
    spent = send(ledger, usage, wanted(quota(1)), START)
    assert isinstance(spent, Spent)
    assert isinstance(send(ledger, usage, wanted(quota(1)), START), Exceeded)
    ledger.refund(spent, START)
    assert isinstance(send(ledger, usage, wanted(quota(1)), START), Spent)


def test_a_refund_after_the_window_is_nothing() -> None:
    ledger, usage = Ledger(), Usage()
    spent = send(ledger, usage, wanted(quota(1)), START)
    assert isinstance(spent, Spent)
    later = START + timedelta(hours=1)
    ledger.refund(spent, later)
    assert ledger.idle(later) == []
    assert ledger.close(later) == []


def test_what_lies_unspent_for_5_seconds_goes_back() -> None:
    ledger, usage = Ledger(), Usage()
    spent = send(ledger, usage, wanted(quota(100, QuotaUnit.RECIPIENTS), recipients=40), START)
    assert isinstance(spent, Spent)
    ledger.refund(spent, START)
    assert ledger.idle(START + timedelta(milliseconds=900)) == []
    back = ledger.idle(START + timedelta(seconds=5))
    assert [each.amount for each in back] == [40]
    usage.give_back(back)
    assert set(usage.used.values()) == {0}
    assert ledger.idle(START + timedelta(seconds=20)) == []


def test_a_trickle_does_not_hold_on_to_what_a_burst_leased() -> None:
    ledger, usage = Ledger(), Usage()
    now = START
    for _ in range(1500):
        now += timedelta(milliseconds=1)
        send(ledger, usage, wanted(quota(10**6), now=now), now)
    for _ in range(40):
        now += timedelta(seconds=1)
        usage.give_back(ledger.idle(now))
        assert isinstance(send(ledger, usage, wanted(quota(10**6), now=now), now), Spent)
    assert sum(usage.used.values()) <= 1540 + 5


def test_whoever_sends_on_holds_no_slice_for_longer_than_5_seconds() -> None:
    """So that who is refused knows when all that was leased is spent or back."""
    ledger, usage = Ledger(), Usage()
    now = START
    for _ in range(1500):
        now += timedelta(milliseconds=1)
        send(ledger, usage, wanted(quota(10**6), now=now), now)
    leased, looks = now, 0
    for sent in range(1501, 1561):
        now += timedelta(milliseconds=500)
        calls = usage.calls
        assert isinstance(send(ledger, usage, wanted(quota(10**6), now=now), now), Spent)
        leased = leased if usage.calls == calls else now
        usage.give_back(ledger.idle(now))
        if now - leased >= timedelta(seconds=5):
            assert sum(usage.used.values()) == sent
            looks += 1
    assert looks > 1


def test_at_shutdown_everything_unspent_goes_back() -> None:
    ledger, usage = Ledger(), Usage()
    now = START
    for _ in range(500):
        now += timedelta(milliseconds=1)
        send(ledger, usage, wanted(quota(10**6), now=now), now)
    usage.give_back(ledger.close(now))
    assert sum(usage.used.values()) == 500


def leased_as_it_shrank() -> tuple[Ledger, int]:
    """Return a ledger whose lease under a maximum of 1000 came when that was 10; and its amount."""
    ledger = Ledger()
    outcome = ledger.try_spend(wanted(quota(1000)), START)
    assert isinstance(outcome, Needs)
    [lease] = outcome.leases
    assert isinstance(ledger.try_spend(wanted(quota(10)), START), Needs)
    ledger.granted(lease, lease.amount, START)
    return ledger, lease.amount


def test_what_was_asked_for_under_a_larger_maximum_is_not_spent_under_a_smaller() -> None:
    ledger, _ = leased_as_it_shrank()
    assert isinstance(ledger.try_spend(wanted(quota(10)), START), Needs)


def test_what_was_leased_under_a_larger_maximum_goes_back_once() -> None:
    """Twice would be more than the limit for whoever leases it next."""
    ledger, amount = leased_as_it_shrank()
    [needs] = [ledger.try_spend(wanted(quota(10)), START)]
    assert isinstance(needs, Needs)
    backs = []
    for second in range(1, 4):
        for lease in needs.leases:
            ledger.granted(lease, lease.amount, START)  # nothing is asked for any more
        sent = ledger.try_spend(wanted(quota(10)), START)
        assert isinstance(sent, Spent)
        backs += ledger.idle(START + timedelta(seconds=second))
    assert sum(back.amount for back in backs if back.amount >= amount) == amount


def test_nothing_goes_back_to_a_window_that_is_over() -> None:
    ledger, usage = Ledger(), Usage()
    send(ledger, usage, wanted(quota(10, seconds=60)), START)
    ledger.refund(Spent(wanted(quota(10, seconds=60))), START)
    assert ledger.close(START + timedelta(seconds=60)) == []
