"""More mail at once than its host accepts: delivered as fast as the host allows (moved clock)."""

import random

import pytest

from postroad.policy.model import SiteLimits
from postroad_harness.simulation.hosts import Temper
from postroad_harness.simulation.moved_clock import moved_clock
from postroad_harness.simulation.network import Network
from postroad_harness.simulation.play import Performance
from postroad_harness.simulation.quiet import quiet_logs
from postroad_harness.simulation.scenario import SENDER_DOMAIN, Letter, Scenario
from postroad_harness.simulation.spool import WatchedConsumer

_CALM = 50.0  # seconds until the hosts of a play take mail without delay


def burst(number: int, within: float, temper: Temper) -> list[float]:
    """Send mail within so many seconds to a host that calms down; return when it took each."""
    letters = [
        Letter(f"m{each}", within * each / number, f"shop@{SENDER_DOMAIN}", ("ann@d.example",), 100)
        for each in range(number)
    ]
    scenario = Scenario(
        seed=1,
        ingresses=1,
        deliveries=1,
        tempers={"d.example": temper, SENDER_DOMAIN: Temper()},
        letters=tuple(letters),
        limits=SiteLimits(),
        quota=number,
        room=100,
        fault_every=1.0,
        faults=0,
    )
    dice = random.Random(1)
    network = Network(most_steps=2_000_000, dice=dice)  # type: ignore[abstract]
    with moved_clock(network.time, 1):
        performance = Performance(scenario, network, dice, WatchedConsumer)
        try:
            with quiet_logs():
                network.run(performance.run())
        finally:
            network.end()
    assert network.errors == []
    return sorted(copy.at for [copy] in performance.ledger.copies.values())


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
    assert leased[0] > _CALM
    assert leased[-1] < _CALM + 20.0
