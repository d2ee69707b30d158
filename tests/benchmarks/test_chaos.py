"""A short chaos run: kills processes of every kind under load; no accepted message may be lost."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroad.spool.ids import new_queue_id
from postroad_harness.chaos.account import ChaosFigures, Ending, Kill, Ledger, gap, settle
from postroad_harness.chaos.one_machine import OneMachine
from postroad_harness.chaos.page import summary, write_page
from postroad_harness.chaos.play import Extent, play
from postroad_harness.chaos.rig import Rig
from postroad_harness.chaos.three_servers import ThreeServers

SHORT = Extent(seconds=12.0, rate=60.0, pause_least=2.0, pause_most=3.0, drain=120.0)


@pytest.mark.nats
@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rig", [OneMachine(), ThreeServers()], ids=["one", "three"])
async def test_nothing_accepted_is_lost(rig: Rig, tmp_path: Path) -> None:
    figures = await play(rig, SHORT, tmp_path)
    print(f"\n{figures.what}:\n{summary(figures)}")
    assert set(figures.kills) == set(rig.kinds())
    assert (figures.lost, figures.delivered) == (0, figures.accepted)
    assert figures.accepted > 200
    write_page([figures], tmp_path / "page.md")
    assert f"| lost | {figures.lost} |" in (tmp_path / "page.md").read_text()


def account(ledger: Ledger, arrivals: dict[int, list[float]]) -> ChaosFigures:
    ending = Ending("a relay", 0.0, 100.0, 105.0, 0, 0, {})
    return settle(ledger, arrivals, range(100), ending)


async def test_what_did_not_arrive_is_lost_and_what_came_twice_is_told() -> None:
    ledger = Ledger(accepted={1: 1.0, 2: 2.0, 3: 3.0}, ambiguous={4, 5})
    figures = account(ledger, {1: [1.1], 2: [2.1, 2.2], 4: [9.0]})
    assert (figures.accepted, figures.delivered, figures.lost) == (3, 2, 1)
    assert (figures.duplicated, figures.ambiguous, figures.ambiguous_delivered) == (1, 2, 1)
    assert figures.drained_in == 5.0


async def test_take_up_is_the_longest_wait_behind_a_killed_delivery_process() -> None:
    ledger = Ledger(
        accepted={1: 9.0, 2: 10.5, 3: 9.5, 4: 30.0, 5: 8.0},
        kills=[Kill(10.0, "delivery", "delivery-0"), Kill(50.0, "ingress", "ingress-0")],
    )
    arrived = {1: [22.0], 2: [23.5], 3: [9.6], 4: [70.0], 5: [10.1]}
    figures = account(ledger, arrived)
    assert figures.take_up == [13.0]  # of number 2, accepted just behind the kill
    assert figures.kills == {"delivery": 1, "ingress": 1}


async def test_gaps_are_told_for_the_service_and_for_its_worst_shard() -> None:
    ledger = Ledger()
    for number in range(100):
        shard = number % 2 if not 40 <= number < 60 else 0
        queue_id = new_queue_id(datetime.now(UTC), shard)
        ledger.accept(number, float(number), b"250 2.0.0 queued as %b" % queue_id.encode())
    figures = account(ledger, {})
    assert figures.accept_gap == 1.0
    assert figures.shard_gap == 22.0
    assert gap([5.0], 0.0, 20.0) == 15.0
