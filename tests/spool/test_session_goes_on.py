"""A process keeps its session, whatever goes wrong once while it is renewed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from postroad.spool.jetstream.cluster.sessions.takers import SESSION_KEYS
from postroad.spool.jetstream.nats.direct_get import Page
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]


async def test_a_session_is_kept_after_an_unexpected_error(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renewal is followed by a look at all sessions. The first one fails."""
    changes, looked = Bucket.changes, asyncio.Event()
    failures = 0

    async def fail_once(self: Bucket, keys: str, *, after: int) -> Page:
        nonlocal failures
        if keys == SESSION_KEYS:
            if not failures:
                failures += 1
                raise RuntimeError("nobody planned this")
            looked.set()
        return await changes(self, keys, after=after)

    await open_spool()
    monkeypatch.setattr(Bucket, "changes", fail_once)
    await asyncio.wait_for(looked.wait(), patient(5))
    assert failures == 1
