"""The account of the tests on a cluster: it must notice lost and repeated messages."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink
from postroad_harness.cluster import report
from postroad_harness.flow import Arrivals, Connect, Figures, Flow, number_of

OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]


def to(port: int) -> Connect:
    return lambda: asyncio.open_connection("127.0.0.1", port)


def flow(port: int, arrivals: Arrivals) -> Flow:
    return Flow(to(port), arrivals, "a@near.example", ("b@far.example",), rate=1000, sessions=3)


async def test_what_is_accepted_and_never_arrives_is_lost(sink_port: OpenSink) -> None:
    sink, port = await sink_port()
    arrivals = Arrivals()
    swallowed: list[int] = []

    def note(content: bytearray) -> None:
        number = number_of(content)
        assert number is not None
        if number % 10 == 3:
            swallowed.append(number)
            return
        arrivals.note(content)
        if number % 10 == 7:
            arrivals.note(content)

    sink.on_taken = note
    async with flow(port, arrivals) as sending:
        figures = await sending.settle(100, seconds=0.2)
    assert figures.accepted >= 100
    assert figures.lost == len(swallowed) > 0
    assert figures.delivered == figures.accepted - figures.lost
    assert figures.duplicated == sum(n % 10 == 7 for n in sending.account.accepted) > 0


async def test_what_is_in_doubt_or_refused_is_brought_again(sink_port: OpenSink) -> None:
    sink, port = await sink_port(disconnect_share=0.1, defer_share=0.1)
    arrivals = Arrivals()
    sink.on_taken = arrivals.note
    async with flow(port, arrivals) as sending:
        figures = await sending.settle(100)
    assert figures.accepted == sink.counts.accepted >= 100
    assert figures.lost == 0
    assert figures.in_doubt == sink.counts.disconnected + sink.counts.deferred > 0
    assert sending.replies["connection lost"] == sink.counts.disconnected
    assert sending.replies["451 after the content"] == sink.counts.deferred


async def test_a_flow_into_nothing_says_how_far_it_came(unused_tcp_port: int) -> None:
    async with flow(unused_tcp_port, Arrivals()) as sending:
        with pytest.raises(AssertionError, match=r"0 of 1 accepted .*no connection"):
            await sending.reached(1, seconds=0.5)


def test_the_page_has_a_row_for_each_scenario_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    monkeypatch.setattr(report, "RESULTS", results)
    page.write_text("# By hand\n\n<!-- written by make e2e: from here to the end -->\nold\n")
    figures = Figures(2001, 2000, 1, 2, 3, 4.56, 7.8)
    report.record("10. later", None, took=1.25)
    report.record("2. sooner", figures)
    report.main(str(results), str(page))
    first, second = page.read_text().splitlines()[-2:]
    assert page.read_text().startswith("# By hand\n")
    assert first == "| 2. sooner | 2001 | 2000 | 1 | 2 | 3 | 4.6 s |  |"
    assert second.endswith("| took 1.2 s |")
    assert "old" not in page.read_text()
    assert json.loads(results.read_text())["2. sooner"]["lost"] == 1
