"""The notes about suspects, and what happens to a suspect if they cannot be read or written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.consume.leased import JetStreamLeasedRecord
from postroad.spool.jetstream.consume.poison.suspects import POISON
from postroad.spool.jetstream.consume.poison.trials import Trials
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.owners import LaneKey
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import now, record

SUSPECT = JetStreamLeasedRecord(
    record(new_queue_id(now(), 0)), Key(QueueStream.WAITING, 0, 1), LaneKey("default", "00"), 4, 1
)


class Notes:
    """The notes, of which `broken` are the calls that nobody answers."""

    def __init__(self, deaths: int = 0, broken: str = "") -> None:
        self.note: bytes | None = b"%d" % deaths if deaths else None
        self._broken = broken

    async def get(self, _: str) -> Any:
        self._answer("get")
        return SimpleNamespace(data=self.note, header={}, headers={}) if self.note else None

    async def put(self, _: str, data: bytes, **__: object) -> None:
        self._answer("put")
        self.note = data

    async def remove(self, _: str, **__: object) -> None:
        self._answer("remove")
        self.note = None

    def _answer(self, call: str) -> None:
        if call == self._broken:
            raise SpoolUnavailable("no answer")


@asynccontextmanager
async def tried(notes: Notes) -> AsyncIterator[tuple[Trials, str]]:
    """Try a suspect, and say what became of it: handed out, held or put off."""
    told: asyncio.Queue[str] = asyncio.Queue()

    def tell(what: str) -> Callable[[object], None]:
        return lambda _: told.put_nowait(what)

    bucket: Any = notes
    handler: Any = SimpleNamespace(
        hand_out=tell("handed out"), hold=tell("held"), put_off=tell("put off")
    )
    trials = Trials(bucket, most=1, alone=timedelta(hours=1), gathering=timedelta(0))
    assert trials.add(SUSPECT)
    running = asyncio.create_task(trials.run(handler))
    async with asyncio.timeout(patient(5)):
        yield trials, await told.get()
    running.cancel()


@pytest.mark.parametrize(
    ("notes", "becomes"),
    [
        (Notes(), "handed out"),
        (Notes(POISON - 1), "handed out"),
        (Notes(POISON), "held"),
        (Notes(POISON, broken="get"), "put off"),
        (Notes(broken="put"), "put off"),
    ],
    ids=["no death", "one less", "enough", "not read", "not written"],
)
async def test_a_suspect_is_held_for_deaths_that_are_known_and_tried_only_with_a_note(
    notes: Notes, becomes: str
) -> None:
    """In doubt it comes back later: what is held waits for a person."""
    async with tried(notes) as (_, became):
        assert became == becomes


async def test_a_suspect_whose_trial_has_ended_has_killed_nobody() -> None:
    notes = Notes(2)
    async with tried(notes) as (trials, _):
        assert notes.note == b"3", "as if it killed this process now"
        await trials.end(SUSPECT.key)
        assert notes.note is None
