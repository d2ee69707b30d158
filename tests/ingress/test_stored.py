"""An accepted message is stored completely, for as long as it may wait."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.memory.spool import MemoryBodyWriter, MemorySpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

BLOCK = (b"x" * 78 + b"\r\n") * 2500  # more than is kept in memory

QUOTA = """---
apiVersion: postroad.dev/v1alpha1
kind: Quota
metadata: {name: all}
spec: {subject: {namespace: default}, limits: [{recipients: 2, per: 1d}], onExceeded: %s}
"""
PATIENT = """---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: patient}
spec: {destinations: [patient.example], mx: {}, retry: {lifetime: 20d}}
"""


async def kinds(scene: Scene) -> Iterable[WaitKind]:
    return [queued.kind async for queued in scene.spool.waiting.list(Selection())]


def noted_bodies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[timedelta, bool]]:
    """Return how long each body that is begun is to live, and whether it is a Client's."""
    begun, write_body = list[tuple[timedelta, bool]](), MemorySpool.write_body

    def noted(self: MemorySpool, *, lifetime: timedelta, known: bool = True) -> MemoryBodyWriter:
        begun.append((lifetime, known))
        return write_body(self, lifetime=lifetime, known=known)

    monkeypatch.setattr(MemorySpool, "write_body", noted)
    return begun


async def test_a_message_of_which_a_part_could_not_be_stored_is_not_accepted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the queue is back by its final dot."""
    write, failed = MemoryBodyWriter.write, asyncio.Event()

    async def once_away(self: MemoryBodyWriter, data: bytes) -> None:
        monkeypatch.setattr(MemoryBodyWriter, "write", write)
        failed.set()
        raise SpoolUnavailable("the queue is away")

    monkeypatch.setattr(MemoryBodyWriter, "write", once_away)
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    await peer.say("DATA")
    peer.writer.write(BLOCK)
    async with asyncio.timeout(patient(5)):
        await failed.wait()
    assert (await peer.send(BLOCK + b".\r\n")).startswith("451 4.3.0 ")
    assert scene.records == []
    assert scene.spool.store.bodies == {}


async def test_a_body_lives_as_long_as_the_most_patient_of_its_destinations(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = noted_bodies(monkeypatch)

    scene = await open_scene(MANIFESTS + PATIENT)
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example", "you@patient.example")
    assert (await peer.message(BLOCK)).startswith("250 ")
    assert begun == [(timedelta(days=20), True)]
    waits = {record.domain: record.deadline - record.arrival for record in scene.records}
    assert waits == {"far.example": timedelta(days=5), "patient.example": timedelta(days=20)}


async def test_a_strangers_content_takes_the_room_that_is_for_strangers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its message is accepted; else it could keep a Client's mail out."""
    begun = noted_bodies(monkeypatch)
    peer = await scene.peer_from("203.0.113.9", ListenerKind.RELAY)
    await peer.envelope("me@elsewhere.example", "known@here.example")
    assert (await peer.message(BLOCK)).startswith("250 ")
    assert [known for _, known in begun] == [False]


async def test_what_is_over_its_quota_waits_and_does_not_go_out(open_scene: OpenScene) -> None:
    scene = await open_scene(MANIFESTS + QUOTA % "Hold")
    peer = await scene.peer()
    await peer.envelope("me@near.example", *(f"you{number}@far.example" for number in range(3)))
    assert (await peer.message()).startswith("250 ")
    assert await kinds(scene) == [WaitKind.HELD]


async def test_each_recipient_of_a_message_counts_against_a_quota(open_scene: OpenScene) -> None:
    scene = await open_scene(MANIFESTS + QUOTA % "Reject")
    peer = await scene.peer()
    await peer.envelope("me@near.example", *(f"you{number}@far.example" for number in range(3)))
    assert (await peer.message()).startswith("550 5.7.1 ")
    assert scene.records == []
