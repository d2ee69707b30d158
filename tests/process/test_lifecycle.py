"""A process's life: the order in which its parts are stopped, whatever fails."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from postroad.process import lifecycle
from postroad.process.errors import StartupError
from postroad.process.lifecycle import Process


def process(drain_timeout: timedelta = timedelta(seconds=10)) -> Process:
    return Process("test", "test-0", drain_timeout=drain_timeout)


def noting(notes: list[str], what: str) -> Callable[[], Awaitable[None]]:
    async def note() -> None:
        notes.append(what)

    return note


async def test_parts_drain_and_then_stop_in_reverse_order() -> None:
    subject = process()
    notes: list[str] = []

    async def build() -> None:
        for part in ("spool", "listeners"):
            subject.on_drain(part, noting(notes, f"drain {part}"))
            subject.on_stop(part, noting(notes, f"stop {part}"))

    living = asyncio.create_task(subject.live(build()))
    while subject.readiness.reasons():
        await asyncio.sleep(0)
    assert notes == []
    subject.stop()
    assert subject.readiness.reasons() == {"process": "draining"}
    assert await living == 0
    assert notes == ["drain listeners", "drain spool", "stop listeners", "stop spool"]


async def test_a_failed_start_ends_what_had_started_and_says_why() -> None:
    subject = process()
    notes: list[str] = []

    async def build() -> None:
        subject.on_stop("spool", noting(notes, "stop spool"))
        raise StartupError("the port is taken")

    with pytest.raises(StartupError, match="the port is taken"):
        await subject.live(build())
    assert notes == ["stop spool"]


async def test_a_stop_that_comes_during_the_start_ends_it() -> None:
    subject = process()
    notes: list[str] = []

    async def build() -> None:
        subject.on_stop("spool", noting(notes, "stop spool"))
        subject.stop()
        await asyncio.Event().wait()

    assert await subject.live(build()) == 0
    assert notes == ["stop spool"]
    assert subject.readiness.reasons() == {"process": "draining"}


async def test_work_that_dies_ends_the_process_with_code_1() -> None:
    subject = process()
    notes: list[str] = []

    async def dies() -> None:
        raise RuntimeError("bug")

    async def build() -> None:
        subject.on_drain("listeners", noting(notes, "drain listeners"))
        subject.spawn("worker", dies())

    assert await subject.live(build()) == 1
    assert notes == ["drain listeners"]


async def test_work_goes_on_through_the_drain_and_is_cancelled_before_the_stop() -> None:
    subject = process()
    notes: list[str] = []

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            notes.append("work cancelled")

    async def build() -> None:
        subject.on_drain("worker", noting(notes, "drain"))
        subject.on_stop("spool", noting(notes, "stop"))
        subject.spawn("worker", works())
        asyncio.get_running_loop().call_soon(subject.stop)

    assert await subject.live(build()) == 0
    assert notes == ["drain", "work cancelled", "stop"]


async def test_a_drain_that_hangs_is_given_up_and_the_rest_still_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "STOP_LIMIT", timedelta(milliseconds=20))
    subject = process(drain_timeout=timedelta(milliseconds=20))
    notes: list[str] = []

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise OSError("gone")

    async def build() -> None:
        subject.on_stop("spool", noting(notes, "stop spool"))
        subject.on_stop("broken", fails)
        subject.on_stop("hanging", hangs)
        subject.on_drain("worker", hangs)
        asyncio.get_running_loop().call_soon(subject.stop)

    assert await subject.live(build()) == 0
    assert notes == ["stop spool"]
