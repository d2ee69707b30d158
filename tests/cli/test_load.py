"""`postroad load`: what it sends, and what it counts."""

import asyncio
import time
from pathlib import Path

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.cli.handover import Tls, tls_context
from postroad.cli.load.command import parse_sizes
from postroad.cli.load.plan import Letters, LoadPlan
from postroad.cli.load.run import LoadRun
from postroad.cli.load.session import LoadSession
from postroad.cli.sink.session import SinkProtocol
from postroad.testing.patience import patient
from postroad.testing.processes.ingress import MANIFESTS, start_ingress
from postroad_harness.setups.load import OpenHop, load


async def test_every_message_is_sent_once(open_hop: OpenHop) -> None:
    hop = await open_hop()
    figures = await load(hop.port, messages=300, sessions=7)
    assert sorted(hop.numbers) == list(range(300))
    assert (figures.accepted, figures.connections, figures.lost) == (300, 7, 0)
    assert figures.latencies.count == 300
    assert 0 < figures.latencies.percentile(0.5) <= figures.latencies.longest


async def test_a_new_connection_for_each_message(open_hop: OpenHop) -> None:
    hop = await open_hop()
    figures = await load(hop.port, messages=40, sessions=4, per_connection=1)
    assert figures.accepted == 40
    assert hop.sink.counts.connections >= 40


async def test_sizes_are_what_was_asked_for(open_hop: OpenHop) -> None:
    hop = await open_hop()
    await load(hop.port, messages=200, sizes=parse_sizes("4KiB:9, 100KiB"))
    sizes = [len(content) for content in hop.contents]
    large = [size for size in sizes if size > 50_000]
    assert set(sizes) <= {4096, 102_400}
    assert 5 < len(large) < 50
    assert all(content.endswith(b"\r\n") for content in hop.contents)


@pytest.mark.parametrize("size", [1, 300, 4095, 4096, 4097, 4096 + 71, 4096 + 72])
def test_a_content_is_whole_lines_of_bounded_length(size: int) -> None:
    content = Letters(LoadPlan("", 0, sizes=((size, 1.0),))).letter(5).content
    assert content.endswith(b"\r\n.\r\n")
    assert max(map(len, content.split(b"\r\n"))) < 100
    assert len(content) - 3 == size or size < 300


async def test_recipients_are_spread_over_domains() -> None:
    domains = [f"d{number}.far.example" for number in range(10)]
    letters = Letters(LoadPlan("", 0, domains=domains, recipients=4))
    seen = [command for n in range(10) for command in letters.letter(n).commands[1:-1]]
    counted = [sum(f"@{domain}>".encode() in command for command in seen) for domain in domains]
    assert counted == [4] * 10


@pytest.mark.parametrize(
    ("behaviour", "counted"),
    [
        ({"defer_share": 1.0}, "deferred"),
        ({"reject_share": 1.0}, "rejected"),
        ({"disconnect_share": 1.0}, "ambiguous"),
    ],
)
async def test_what_was_not_accepted_is_told_by_kind(
    open_hop: OpenHop, behaviour: dict[str, float], counted: str
) -> None:
    hop = await open_hop(**behaviour)
    figures = await load(hop.port, messages=12, sessions=3)
    assert getattr(figures, counted) == figures.ended == 12
    assert figures.accepted == 0


async def test_a_refusal_before_the_content_is_counted_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        await scene.configure(MANIFESTS, tmp_path)
        senders = ["me@near.example", "somebody@else.example"]
        figures = await load(
            scene.ports[ListenerKind.RELAY], messages=10, sessions=1, senders=senders
        )
        assert (figures.accepted, figures.rejected) == (5, 5)
        assert (figures.connections, figures.lost) == (1, 0)
        assert figures.first_refusal.startswith("5")
    finally:
        await scene.end()


async def test_a_rate_is_kept(open_hop: OpenHop) -> None:
    hop = await open_hop()
    figures = await load(hop.port, messages=30, rate=100.0)
    assert 0.28 < figures.seconds < 2.0


class Turned(LoadSession):
    """A session that notes its turn instead of sending."""

    def __init__(self, load: LoadRun, turns: "asyncio.Queue[LoadSession]") -> None:
        super().__init__(load)
        self._turns = turns

    def go(self) -> None:
        """Take a number, say nothing."""
        if self.load.draw(time.monotonic()) is not None:
            self._turns.put_nowait(self)


async def test_the_turn_of_a_connection_that_is_lost_is_another_s() -> None:
    run = LoadRun(LoadPlan("127.0.0.1", 9, messages=3, rate=5.0))
    turns: asyncio.Queue[LoadSession] = asyncio.Queue()
    first, lost, last = sessions = [Turned(run, turns) for _ in range(3)]
    for session in sessions:
        run.await_turn(session)
    lost.connection_lost(None)
    async with asyncio.timeout(patient(5)):
        assert [await turns.get(), await turns.get()] == [first, last]


async def test_a_time_bounds_it(open_hop: OpenHop) -> None:
    hop = await open_hop(latency=0.01)
    figures = await load(hop.port, seconds=0.3, sessions=3)
    assert figures.seconds < 2.0
    assert figures.accepted == len(hop.contents) > 3


class HangsUp(SinkProtocol):
    """A next hop that hangs up when it hears DATA."""

    def data_received(self, data: bytes) -> None:
        if b"DATA" in data and self._connection is not None:
            self._connection.abort()
        else:
            super().data_received(data)


async def test_what_was_not_sent_when_a_connection_was_lost_is_sent_again(
    open_hop: OpenHop,
) -> None:
    hop = await open_hop()
    kinds = iter([HangsUp, SinkProtocol, HangsUp, HangsUp])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: next(kinds, SinkProtocol)(hop.sink), "127.0.0.1", 0)
    figures = await load(server.sockets[0].getsockname()[1], messages=20, sessions=4)
    server.close()
    assert sorted(hop.numbers) == list(range(20))
    assert (figures.accepted, figures.ambiguous, figures.lost) == (20, 0, 3)


async def test_what_has_no_answer_is_ambiguous_and_not_sent_again(open_hop: OpenHop) -> None:
    hop = await open_hop(latency=0.02)
    running = LoadRun(LoadPlan("127.0.0.1", hop.port, messages=60, sessions=6))
    ambiguous: list[int] = []
    running.on_ambiguous = ambiguous.append
    sending = asyncio.create_task(running.run())
    while len(hop.contents) < 20:
        await asyncio.sleep(0.005)
    await hop.sink.hang_up()
    figures = await sending
    assert figures.lost == 6
    assert figures.accepted + figures.ambiguous == 60
    assert len(hop.numbers) == len(set(hop.numbers))
    assert set(hop.numbers) | set(ambiguous) == set(range(60))


async def test_under_tls_and_with_a_password(tmp_path: Path) -> None:
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        await scene.configure(MANIFESTS, tmp_path)
        for kind, tls in (
            (ListenerKind.SUBMISSION, Tls.STARTTLS),
            (ListenerKind.SUBMISSIONS, Tls.IMPLICIT),
        ):
            figures = await load(
                scene.ports[kind],
                messages=4,
                sessions=2,
                tls=tls,
                context=tls_context(True, None),
                login=("shop", "correct horse"),
                senders=["news@shop.example"],
            )
            assert (figures.accepted, figures.first_refusal) == (4, "")
    finally:
        await scene.end()
