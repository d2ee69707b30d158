"""
Reading a stream without consuming it: JetStream's direct get, one message or a page of them.

Everything here that looks from outside is built on it: listings, the configuration, orders,
events. It leaves nothing behind on the server (no consumer to recreate after a restart, none to
forget), whoever reads slowly is not pushed to, and a page is bounded in number and in octets.

In a cluster a follower may answer, and may lag: what is read is a true state of the stream, but
perhaps not the last one. A missing message is therefore "not yet" to these callers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.cancellation import heed_cancellation

READ_TIMEOUT = timedelta(seconds=5)
PAGE_MESSAGES = 256
# A page is what a reader holds in memory; the largest record alone (128 KiB inline) fits well.
PAGE_OCTETS = 2 * 1024 * 1024

_API = "$JS.API.DIRECT.GET."
_FOUND_NONE = "404"
_END_OF_PAGE = "204"
_NO_HEADERS: Mapping[str, str] = {}


class Link(Protocol):
    """The connection as it is now; both change when a closed one is made anew."""

    @property
    def client(self) -> Client:
        """The connected client."""

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream through that client."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the stream keeps it; `stored_at` is by the server's clock."""

    subject: str
    sequence: int
    stored_at: datetime
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in stream order, and how many more fit the filter after them."""

    messages: Sequence[StoredMessage]
    pending: int


async def last_on(link: Link, stream: str, subject: str) -> StoredMessage | None:
    """Return the last message on one literal subject, None when there is none."""
    try:
        answer = await link.client.request(
            f"{_API}{stream}.{subject}", timeout=READ_TIMEOUT.total_seconds()
        )
    except (nats.errors.Error, TimeoutError, OSError) as error:
        heed_cancellation()
        raise SpoolUnavailable(f"{stream} does not answer") from error
    heed_cancellation()
    status = (answer.headers or _NO_HEADERS).get("Status")
    if status == _FOUND_NONE:
        return None
    if status is not None:
        raise SpoolUnavailable(f"{stream} answers {status}")
    return _stored(answer)


async def page(
    link: Link,
    stream: str,
    subject: str,
    *,
    after: int = 0,
    since: datetime | None = None,
    messages: int = PAGE_MESSAGES,
) -> Page:
    """
    Return the next messages on a subject (with wildcards) after a sequence, or stored since.

    Raises SpoolUnavailable.
    """
    request: dict[str, Any] = {
        "batch": messages,
        "max_bytes": PAGE_OCTETS,
        "next_by_subj": subject,
    }
    if since is not None and not after:
        request["start_time"] = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    else:
        request["seq"] = after + 1
    return await _ask(link, stream, request)


async def pages(
    link: Link, stream: str, subject: str, *, after: int = 0, messages: int = PAGE_MESSAGES
) -> AsyncIterator[Page]:
    """Yield page after page until the end of the stream is reached; SpoolUnavailable if not."""
    while True:
        found = await page(link, stream, subject, after=after, messages=messages)
        if found.messages:
            yield found
            after = found.messages[-1].sequence
        if not found.pending:
            return


async def _ask(link: Link, stream: str, request: Mapping[str, Any]) -> Page:
    found: list[StoredMessage] = []
    end: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    async def on_answer(message: Msg) -> None:
        headers = message.headers or _NO_HEADERS
        status = headers.get("Status")
        if status is None:
            found.append(_stored(message))
        elif not end.done():
            end.set_result((status, int(headers.get("Nats-Num-Pending", "0"))))

    client = link.client
    try:
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=on_answer)
        try:
            await client.publish(_API + stream, json.dumps(request).encode(), reply=inbox)
            status, pending = await asyncio.wait_for(end, READ_TIMEOUT.total_seconds())
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()
    except (nats.errors.Error, TimeoutError, OSError) as error:
        heed_cancellation()
        raise SpoolUnavailable(f"{stream} does not answer") from error
    heed_cancellation()
    if status not in (_END_OF_PAGE, _FOUND_NONE):
        raise SpoolUnavailable(f"{stream} answers {status}")
    return Page(found, pending)


def _stored(message: Msg) -> StoredMessage:
    headers = message.headers or _NO_HEADERS
    return StoredMessage(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        headers,
        message.data,
    )
