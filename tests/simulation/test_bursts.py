"""More mail at once than its host accepts: delivered as fast as the host allows (moved clock)."""

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import timedelta

import pytest

from postroad.policy.model import Rate, SiteLimits
from postroad_harness.simulation.hosts import Temper
from postroad_harness.simulation.ledger import Ledger
from postroad_harness.simulation.moved_clock import moved_clock
from postroad_harness.simulation.network import Network
from postroad_harness.simulation.play import Performance
from postroad_harness.simulation.quiet import quiet_logs
from postroad_harness.simulation.scenario import SENDER_DOMAIN, Letter, Scenario
from postroad_harness.simulation.spool import WatchedConsumer

pytestmark = pytest.mark.timeout(300)  # a play that is cut short looks like one that loses mail

_CALM = 50.0  # seconds until the hosts of a play take mail without delay


def played(times: Sequence[float], temper: Temper, limits: SiteLimits, room: int) -> Ledger:
    """Send a message at each of these times to a host that calms down; return what happened."""
    letters = [
        Letter(f"m{each}", at, f"shop@{SENDER_DOMAIN}", ("ann@d.example",), 100)
        for each, at in enumerate(times)
    ]
    scenario = Scenario(
        seed=1,
        ingresses=1,
        deliveries=1,
        tempers={"d.example": temper, SENDER_DOMAIN: Temper()},
        letters=tuple(letters),
        limits=limits,
        quota=len(letters),
        room=room,
        fault_every=1.0,
        faults=0,
    )
    dice = random.Random(1)
    network = Network(most_steps=5_000_000, dice=dice)  # type: ignore[abstract]
    with moved_clock(network.time, 1):
        performance = Performance(scenario, network, dice, WatchedConsumer)
        try:
            with quiet_logs():
                network.run(performance.run())
        finally:
            network.end()
    assert network.errors == []
    return performance.ledger


def burst(number: int, within: float, temper: Temper) -> list[float]:
    """Send mail within so many seconds to a host that calms down; return when it took each."""
    times = [within * each / number for each in range(number)]
    ledger = played(times, temper, SiteLimits(), 100)
    return sorted(copy.at for [copy] in ledger.copies.values())


@pytest.mark.parametrize("slow", [5.0, 15.0])
def test_what_is_parked_comes_back_when_its_host_takes_more_than_it_did(slow: float) -> None:
    """Its first connections showed a message a second, or less; then it takes all at once."""
    leased = burst(300, 40.0, Temper(slow=slow, slow_from=slow))
    assert len(leased) == 300
    assert sum(at < _CALM for at in leased) < 200, "they were more than it took"
    assert leased[-1] < _CALM + slow + 15.0, "what is due within ten seconds is left to itself"


def test_what_was_put_off_while_its_host_was_away_comes_back_when_it_is_there() -> None:
    """Ten came back in a second, for a minute, whatever the host took."""
    leased = burst(600, 40.0, Temper(unreachable=1.0))
    assert len(leased) == 600
    assert _CALM < leased[0] < _CALM + 15.0
    assert leased[-1] < leased[0] + 20.0


@pytest.mark.parametrize(
    ("rate", "most"),
    [(Rate(1, timedelta(seconds=0.1)), 100), (Rate(100, timedelta(seconds=10)), 200)],
)
def test_mail_leaves_a_site_in_the_order_in_which_it_came_while_more_comes(
    rate: Rate, most: int
) -> None:
    """Mail that was put off waited for as long as newer mail filled the room. (Takes 10 s.)"""
    times = [each / 100 for each in range(500)] + [5.0 + each * 0.11 for each in range(500)]
    ledger = played(times, Temper(), SiteLimits(message_rate=rate), 1500)
    came: dict[str, int] = {}
    for put in ledger.puts:
        came.setdefault(put.token, len(came))
    took = sorted((copy.at, came[token]) for (token, _), [copy] in ledger.copies.items())
    assert len(took) == len(times)
    assert took[-1][0] < len(times) / 10 + 15.0, "and it takes as much as it may"
    before: list[int] = []
    overtaken = 0
    for _, number in took:
        insort(before, number)
        overtaken = max(overtaken, len(before) - 1 - bisect_left(before, number))
    assert overtaken <= most, "a room of mail, and what is recalled at once"
