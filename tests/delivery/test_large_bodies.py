"""
Large messages to hosts that stop reading: memory is bounded, and other mail goes on.

A real nats-server stores the bodies, and real sockets buffer what nobody reads.
"""

import asyncio
import contextlib
import socket
import socketserver
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Self

import pytest

from postroad.delivery.body_room import BodyRoom
from postroad.policy.model import EgressPath, RetrySchedule, Smarthost, TlsMode
from postroad.smtp_client.peer import Timeouts
from postroad.spool.event import EventType
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import CHUNK, BlobRef, Origin
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.certificates import vouched_for
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send, waiting
from postroad.testing.queue.nats_server import NatsServer

pytestmark = pytest.mark.nats

LATER = RetrySchedule(first=timedelta(hours=1))
FLOOD = Origin(client="shop/flood", namespace="shop")
BODY = 16 * CHUNK  # octets: more than the sockets of a connection buffer
HOSTS = 12
ROOM = 16 * CHUNK


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with NatsServer(tmp_path) as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE)
        connected = await connect(options)
        yield connected
        await connected.close()


class DeafHost(socketserver.ThreadingTCPServer):
    """
    Takes any envelope, and reads nothing of the content. With `tls` it speaks TLS from the start.

    It has threads, as asyncio would read some of the content into the memory that is measured.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _DeafSession)
        self.socket.listen(100)  # many come at once
        self.tls = tls
        self.asked = 0  # how often it got a DATA
        self.ends = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.server_address[1])

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ends.set()
        await asyncio.to_thread(self.shutdown)
        await asyncio.to_thread(self.server_close)
        await asyncio.to_thread(self._thread.join)


class _DeafSession(socketserver.BaseRequestHandler):
    server: DeafHost

    def handle(self) -> None:
        talk: socket.socket = self.request
        if self.server.tls is not None:
            talk = self.server.tls.wrap_socket(talk, server_side=True)
        with contextlib.suppress(OSError), talk:
            talk.sendall(b"220 x\r\n")
            while (line := talk.recv(1000)) and not line.startswith(b"DATA"):
                talk.sendall(b"250 x\r\n")
            if line:
                self.server.asked += 1
                talk.sendall(b"354 go on\r\n")
                self.server.ends.wait()


def through(name: str, host: DeafHost | ScriptedMx, *, tls: bool = False) -> EgressPath:
    hosts, mode = (Smarthost("127.0.0.1", host.port),), TlsMode.REQUIRED if tls else TlsMode.NONE
    return EgressPath(f"relay:shop/{name}", hosts, tls=mode, implicit_tls=tls, retry=LATER)


async def store_body(spool: Spool, line: bytes) -> BlobRef:
    writer = spool.write_body(lifetime=timedelta(days=1))
    await writer.write(b"Subject: x\r\n\r\n")
    lines = line * (CHUNK // len(line))
    for _ in range(BODY // CHUNK):
        await writer.write(lines)
    return await writer.finish(destinations=0)


async def watch(found: list[int]) -> None:
    """Note the memory in use again and again, until cancelled."""
    while True:
        found.append(tracemalloc.get_traced_memory()[0])
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "line", [b"x" * 70 + b"\r\n", b"." + b"x" * 69 + b"\r\n"], ids=["as_it_is", "rewritten"]
)
@pytest.mark.timeout(120)
async def test_a_host_that_stops_reading_keeps_one_chunk_in_memory(
    spool: Spool, tmp_path: Path, line: bytes, tls: bool
) -> None:
    """It takes the time after which such hosts are given up."""
    body = await store_body(spool, line)
    context = vouched_for(tmp_path, "mx.test").context if tls else None
    names = [f"deaf{number}" for number in range(HOSTS)]
    async with DeafHost(context) as deaf:
        await publish(spool, **{f"{name}_test": through(name, deaf, tls=tls) for name in names})
        times = Timeouts(block=timedelta(seconds=patient(3)))
        async with delivering(spool, timeouts=times, finish=0.1):
            tracemalloc.start()
            found: list[int] = []
            watching = asyncio.create_task(watch(found))
            try:
                await send(spool, *(f"b@{name}.test" for name in names), content=body)
                await history(spool, EventType.TRANSIENT_FAILURE, HOSTS)
            finally:
                watching.cancel()
                tracemalloc.stop()
        assert deaf.asked == HOSTS
    held = median(found[len(found) // 2 :]) / HOSTS / CHUNK  # nothing moves any more
    # A chunk, and less than half of one on its way. TLS has 256 KiB for what a host might say.
    assert held < (2.0 if tls else 1.5)


@pytest.mark.timeout(120)
async def test_others_mail_goes_on_while_hosts_stop_reading_one_client_s_large_mail(
    spool: Spool,
) -> None:
    body = await store_body(spool, b"x" * 70 + b"\r\n")
    names = [f"deaf{number}" for number in range(40)]
    room = BodyRoom(ROOM)
    async with DeafHost() as deaf, ScriptedMx() as good:
        egress_paths = {f"{name}_test": through(name, deaf) for name in names}
        await publish(spool, good_test=through("good", good), **egress_paths)
        async with delivering(spool, body_room=room, finish=0.1), asyncio.timeout(patient(60)):
            await send(spool, *(f"b@{name}.test" for name in names), content=body, origin=FLOOD)
            left = len(names) - 6  # its part: three quarters of a half
            while [kind for kind, _ in await waiting(spool)].count(WaitKind.DEFERRED) < left:
                await asyncio.sleep(0.05)
            assert (deaf.asked, room.taken) == (6, 6 * CHUNK)
            await send(spool, *(f"{number}@good.test" for number in range(5)))
            await send(spool, *(f"large{number}@good.test" for number in range(5)), content=body)
            got = await good.received(10)
        assert sorted(len(each.content) > BODY - CHUNK for each in got) == [False] * 5 + [True] * 5
        assert deaf.asked == 6, "the others wait for room, and no host waits for us"
    assert room.taken == 0


async def test_large_mail_that_waited_for_room_is_delivered_when_there_is_some(
    spool: Spool,
) -> None:
    """It takes the five seconds for which mail without room is put off."""
    body = await store_body(spool, b"x" * 70 + b"\r\n")
    names = [f"host{number}" for number in range(10)]
    async with ScriptedMx(slowness=0.5) as slow:
        await publish(spool, **{f"{name}_test": through(name, slow) for name in names})
        async with delivering(spool, body_room=BodyRoom(ROOM)), asyncio.timeout(patient(60)):
            await send(spool, *(f"b@{name}.test" for name in names), content=body)
            got = await slow.received(len(names))
            assert [len(each.content) for each in got] == [body.size] * len(names)
            await history(spool, EventType.DELIVERY, len(names))
        assert not await waiting(spool)
