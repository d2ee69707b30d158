"""Shows that the bench works: every case, with Postroad alone and a few messages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from postroad_harness.bench import comparison
from postroad_harness.bench.bench import Extent, Result, median_rates, run, turned, write
from postroad_harness.bench.cases import CASES
from postroad_harness.bench.page import write_page
from postroad_harness.bench.processes import Usage
from postroad_harness.bench.rounds import RoundFigures, middle
from postroad_harness.bench.servers.interface import MailServer, Unavailable
from postroad_harness.bench.servers.postroad import PostroadServer

MESSAGES = 100


class Missing(PostroadServer):
    """A system that cannot be had."""

    def __init__(self) -> None:
        super().__init__(name="missing")

    async def start(self, folder: Path, next_hop: int) -> None:
        raise Unavailable("it is not to be had")

    async def stop(self) -> None:
        pass


@pytest.mark.nats
@pytest.mark.timeout(180)
async def test_every_case_is_measured_and_told(tmp_path: Path) -> None:
    result = await run([PostroadServer(), Missing()], CASES, Extent(1, None, MESSAGES), tmp_path)
    assert list(result.cases) == [case.name for case in CASES]
    for found in result.cases.values():
        [figures] = found["postroad"]
        assert (figures.accepted, figures.arrived) == (MESSAGES, MESSAGES)
        assert (figures.repeated, figures.refused) == (0, 0)
        assert figures.rate > 0
        assert figures.rate_in > 0
        assert 0 < figures.accept_p50 <= figures.accept_p99
        assert figures.transit_p50 <= figures.transit_p99
        assert {"ingress", "delivery", "nats-server"} <= set(figures.peak_memory)
        assert set(figures.cpu_per_message) <= {*figures.peak_memory, "processes that ended"}
    write(result, tmp_path / "bench.json")
    told = json.loads((tmp_path / "bench.json").read_text())
    assert told["left_out"] == {"missing": "it is not to be had"}
    assert [case["name"] for case in told["cases"]] == list(result.cases)
    assert set(told["cases"][0]["systems"]["postroad"]) == {"rates", "median", "rounds"}
    write_page(result, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "it is not to be had" in page
    assert all(f"## {name}\n" in page for name in result.cases)


def figures(rate: float, **others: float) -> RoundFigures:
    plain = dict.fromkeys(
        ("rate_in", "accept_p50", "accept_p99", "transit_p50", "transit_p99"), 0.001
    )
    names = ("accepted", "arrived", "repeated", "refused", "lost_connections", "memory")
    counts = dict(zip(names, (10, 10, 0, 0, 0, 1), strict=True))
    return RoundFigures(rate=rate, **{**counts, **plain, **others})  # type: ignore[arg-type]


def result(**rates: list[float]) -> Result:
    machine = dict.fromkeys(("date", "cores", "processor", "memory_gib", "system", "python"), "-")
    rounds = {name: [figures(rate) for rate in said] for name, said in rates.items()}
    servers = {name: {"version": "1", "settings": "-"} for name in rates}
    return Result({**machine}, servers, {}, {"4KiB-kept": rounds})


def test_ratios_are_of_the_medians(tmp_path: Path) -> None:
    measured = result(postroad=[900.0, 300.0, 600.0], postfix=[200.0, 100.0, 400.0])
    assert median_rates(measured.cases["4KiB-kept"]) == {"postroad": 600.0, "postfix": 200.0}
    assert middle(measured.cases["4KiB-kept"]["postroad"]).rate == 600.0
    write(measured, tmp_path / "bench.json")
    [case] = json.loads((tmp_path / "bench.json").read_text())["cases"]
    assert case["ratios"] == {"postfix": 3.0}
    assert case["systems"]["postroad"]["rates"] == [900.0, 300.0, 600.0]


def test_losses_are_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write_page(result(postroad=[100.0], postfix=[200.0]), page)
    assert "4KiB-kept: the rate end to end against postfix: 100/s to 200/s" in page.read_text()
    write_page(result(postroad=[200.0], postfix=[100.0]), page)
    assert "nowhere in this run" in page.read_text()


def test_time_of_a_process_that_ended_is_counted_once() -> None:
    before = Usage({"master": 1.0, "smtpd": 5.0, "processes that ended": 2.0})
    # The one with 5 s before spent another and ended; a new one has spent half a second.
    after = Usage({"master": 1.5, "smtpd": 0.5, "processes that ended": 8.0})
    spent = after.since(before)
    assert spent == {"master": 0.5, "processes that ended": 1.5}


def test_a_commit_is_compared_with_another_pair_by_pair() -> None:
    costs = {"postroad": [0.003, 0.006], "base": [0.002, 0.005], "base-again": [0.002, 0.006]}
    rounds = {
        name: [replace(figures(100.0), cpu_per_message={"ingress": cost}) for cost in said]
        for name, said in costs.items()
    }
    measured = Result({}, {}, {}, {"4KiB-kept": rounds})
    _, _, whole, ingress, rate = comparison.table(measured).splitlines()
    expected = "4.50 | 3.50 | +35.0 % (+20.0 to +50.0) | +10.0 % (+0.0 to +20.0) |"
    assert whole == f"| 4KiB-kept | all | {expected}"
    assert ingress == f"| 4KiB-kept | ingress | {expected}"
    assert rate.startswith("| 4KiB-kept | messages a second | 100.00 | 100.00 | +0.0 %")


def test_what_has_no_pair_is_not_compared() -> None:
    assert comparison.spread([1.0, 2.0], [0.0, 1.0]) == comparison.Spread(2.0, 2.0, 2.0)
    assert comparison.spread([1.0], [0.0]) is None
    assert "4KiB" not in comparison.table(result(postroad=[1.0], base=[1.0]))


def test_another_server_begins_each_round() -> None:
    servers: list[MailServer] = [PostroadServer(name=name) for name in ("one", "two", "three")]
    order = [[each.name for each in turned(servers, number)] for number in range(4)]
    assert order[0] == order[3] == ["one", "two", "three"]
    assert order[1:3] == [["two", "three", "one"], ["three", "one", "two"]]
    assert turned([], 1) == []
