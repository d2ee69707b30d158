"""
Every state of a connection, ended in every way, on every kind of port and both event loops.

All states of one way of leaving are tried at once on one ingress. Afterwards no slot is in use, no
body is begun, no task is running, and a drain has nothing to wait for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postroad.ingress.session import wire
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, Scene, start_ingress
from postroad_harness.connections.leavers import WAYS, everything, gone, stay_silent


class Bodies:
    """Counts the bodies that are begun and neither finished nor given up."""

    def __init__(self, scene: Scene) -> None:
        self.begun = 0
        self.open = 0
        self._write_body = scene.spool.write_body
        scene.spool.write_body = self._begin  # type: ignore[method-assign]

    def _begin(self, **options: Any) -> Any:
        writer = self._write_body(**options)
        self.begun += 1
        self.open += 1
        abort = writer.abort

        async def aborted() -> None:
            await abort()
            self.open -= 1

        writer.abort = aborted  # type: ignore[method-assign]
        return writer


@contextlib.asynccontextmanager
async def ingress(tls: Path, folder: Path, *, idle: timedelta) -> AsyncIterator[Scene]:
    scene = await start_ingress(
        tls=tls,
        insecure_auth=True,
        idle=idle,
        inline_size=1024,
        junk_commands=10**9,
    )
    try:
        await scene.configure(MANIFESTS, folder)
        yield scene
    finally:
        await scene.end()


async def leave(tls: Path, folder: Path, way: Callable[[SmtpPeer], None]) -> None:
    soon = timedelta(seconds=1 if way is stay_silent else 300)
    async with ingress(tls, folder, idle=soon) as scene:
        bodies, before = Bodies(scene), asyncio.all_tasks()
        peers = await asyncio.gather(*(state(scene, port) for state, port in everything()))
        for peer in peers:
            way(peer)
        await gone(scene, before)
        assert bodies.begun
        assert bodies.open == 0
        assert scene.records == []
        await drained(scene, seconds=60)


async def drained(scene: Scene, *, seconds: float) -> None:
    async with asyncio.timeout(patient(1)):
        await scene.server.drain(seconds=seconds)


async def drain(tls: Path, folder: Path) -> None:
    async with ingress(tls, folder, idle=timedelta(minutes=5)) as scene:
        bodies, before = Bodies(scene), asyncio.all_tasks()
        await asyncio.gather(*(state(scene, port) for state, port in everything()))
        await drained(scene, seconds=0.1)
        await gone(scene, before)
        assert bodies.open == 0


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_connection(
    way: str, loop: str, tmp_path: Path, certificate_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_LINGER", 0.5)
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(leave(certificate_folder, tmp_path, WAYS[way]))


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_left_after_our_own_drain(
    loop: str, tmp_path: Path, certificate_folder: Path
) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(drain(certificate_folder, tmp_path))
