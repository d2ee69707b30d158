"""Logins are noted for the cluster in the background, for a month, with few writes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from nats.js.errors import NotFoundError

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.directories import past_logins
from postroad.spool.jetstream.directories.past_logins import JetStreamPastLogins
from postroad.spool.jetstream.nats.direct_get import Link, StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer

pytestmark = pytest.mark.nats

OpenLink = Callable[[], Awaitable[Link]]
KEY = "0123456789abcdef" * 2


async def written(link: Link) -> tuple[int, int]:
    """Return the sequence of the last note and for how many seconds it stands."""
    async with asyncio.timeout(patient(10)):
        while True:
            try:
                message = await link.jetstream.get_last_msg("KV_quotas", "$KV.quotas.login.*")
            except NotFoundError:
                await asyncio.sleep(0.02)
                continue
            assert message.seq is not None
            assert message.headers is not None
            return message.seq, int(message.headers["Nats-TTL"])


async def note(link: Link, *keys: str) -> None:
    """Note logins as a process does that has just started, and wait until that is over."""
    notes = JetStreamPastLogins(Bucket(link, "quotas"))
    for key in keys:
        notes.note(key)
    async with asyncio.timeout(patient(10)):
        while not all([await notes.noted(key) for key in keys]):
            await asyncio.sleep(0.02)
    await notes.close()


async def test_a_note_stands_for_a_month_and_holds_no_name(link: Link) -> None:
    await note(link, KEY)
    assert (await written(link))[1] == timedelta(days=30).total_seconds()
    message = await link.jetstream.get_last_msg("KV_quotas", "$KV.quotas.>")
    assert (message.subject, message.data) == (f"$KV.quotas.login.{KEY}", b"1")


async def test_a_restart_of_all_writes_nothing_again_but_what_is_some_days_old(
    open_link: OpenLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await open_link()
    await note(link, KEY)
    first = await written(link)
    for number in range(3):
        await note(await open_link(), KEY, f"{number:032x}")  # the second: it has had its turn
    message = await link.jetstream.get_last_msg("KV_quotas", f"$KV.quotas.login.{KEY}")
    assert message.seq == first[0]
    monkeypatch.setattr(past_logins, "_WRITTEN_AGAIN", timedelta())
    restarted = JetStreamPastLogins(Bucket(link, "quotas"))
    restarted.note(KEY)
    async with asyncio.timeout(patient(10)):
        while message.seq == first[0]:
            await asyncio.sleep(0.02)
            message = await link.jetstream.get_last_msg("KV_quotas", f"$KV.quotas.login.{KEY}")
    await restarted.close()


async def test_a_note_that_was_stored_without_an_end_ends(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write notes could open a network to guesses of a name for good."""
    await link.jetstream.publish(f"$KV.quotas.login.{KEY}", b"1")
    notes, get = JetStreamPastLogins(Bucket(link, "quotas")), Bucket.get
    assert await notes.noted(KEY)

    async def older(bucket: Bucket, key: str) -> StoredMessage | None:
        message = await get(bucket, key)
        return (
            replace(message, stored_at=message.stored_at - timedelta(days=30)) if message else None
        )

    monkeypatch.setattr(Bucket, "get", older)
    assert not await notes.noted(KEY)


async def test_what_cannot_be_noted_is_noted_after_the_next_login(
    server: NatsServer, link: Link
) -> None:
    notes = JetStreamPastLogins(Bucket(link, "quotas"))
    server.stop()
    notes.note(KEY)  # never waits, never fails
    with pytest.raises(SpoolUnavailable):
        await notes.noted(KEY)
    await server.start()
    async with asyncio.timeout(patient(30)):
        while True:
            notes.note(KEY)  # another login
            try:
                if await notes.noted(KEY):
                    break
            except SpoolUnavailable:
                pass
            await asyncio.sleep(0.05)
    await notes.close()
