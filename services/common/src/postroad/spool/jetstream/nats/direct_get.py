"""
Reads a stream without consuming it: JetStream's direct get, for one message or a page.

Listings, the configuration, orders and events are read in this way. It needs no consumer, which
would have to be created again after a restart and deleted at the end. A slow reader is not flooded,
and a page is limited in messages and octets.

In a cluster a follower may answer, and may lag: the result is a consistent state of the stream, but
perhaps not the latest. So a missing message may only be a late one.

A stored message may have any header, whose octets its publisher chose: also a field `Status`, or a
first line that looks like one of the server's. So only that counts which the server writes behind
them. It gives each stored message its sequence, and its own words have none.

Another process of the same role may have the server send an answer to this one's inbox, once the
first message of a page has shown its name. So each answer has to come from the stream, in order.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

import nats.errors
from nats.js import JetStreamContext

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.incoming import Incoming

READ_TIMEOUT = timedelta(seconds=5)
PAGE_MESSAGES = 256
# A page is what a reader holds in memory; the largest record alone (128 KiB inline) fits well.
PAGE_OCTETS = 2 * 1024 * 1024

_FOUND_NONE = "404"
_END_OF_PAGE = "204"
_PENDING = "Nats-Num-Pending"
_SEQUENCE = b"\r\nNats-Sequence:"  # of a stored message


class Link(Protocol):
    """The current connection; the client changes when a closed client is replaced."""

    @property
    def client(self) -> FastClient:
        """The connected client."""

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream through that client."""

    @property
    def api(self) -> str:
        """The prefix of the subjects of JetStream's API."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A stored message; `stored_at` is by the server's clock."""

    subject: str
    sequence: int
    stored_at: datetime
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in stream order, and how many more match the filter after them."""

    messages: Sequence[StoredMessage]
    pending: int


async def last_on(link: Link, stream: str, subject: str) -> StoredMessage | None:
    """Return the last message on one literal subject, None when there is none."""
    answers = await _ask(link, stream, f"{stream}.{subject}", b"", _is_any)
    return message_in(answers[0], stream)


def message_in(answer: Incoming, stream: str) -> StoredMessage | None:
    """Return the message in the answer to a direct get for one, None when there is none."""
    if _is_stored(answer):
        return _stored(answer, stream)
    if answer.status == _FOUND_NONE:
        return None
    raise SpoolUnavailable(f"{stream} answers {answer.status}")


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
    *answers, end = await _ask(link, stream, stream, json.dumps(request).encode(), _is_last)
    if end.status not in (_END_OF_PAGE, _FOUND_NONE):
        raise SpoolUnavailable(f"{stream} answers {end.status}")
    found = [_stored(message, stream) for message in answers]
    if any(later.sequence <= each.sequence for each, later in pairwise(found)):
        raise SpoolUnavailable(f"{stream} answers out of order")
    return Page(found, int(end.field(_PENDING) or "0"))


async def pages(
    link: Link, stream: str, subject: str, *, after: int = 0, messages: int = PAGE_MESSAGES
) -> AsyncIterator[Page]:
    """Yield pages until the end of the stream. Raises SpoolUnavailable."""
    while True:
        found = await page(link, stream, subject, after=after, messages=messages)
        if found.messages:
            yield found
            after = found.messages[-1].sequence
        if not found.pending:
            return


def _is_stored(answer: Incoming) -> bool:
    """Whether this is a stored message, and not the server's own word."""
    return _SEQUENCE in answer.header


def _is_last(answer: Incoming) -> bool:
    """Whether this ends a page."""
    return not _is_stored(answer)


def _is_any(_: Incoming) -> bool:
    return True


async def _ask(
    link: Link, stream: str, what: str, request: bytes, is_last: Callable[[Incoming], bool]
) -> Sequence[Incoming]:
    """Return the answers up to the last one."""
    answers: list[Incoming] = []
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_answer(answer: Incoming) -> None:
        if not end.done():
            answers.append(answer)
            if is_last(answer):
                end.set_result(None)

    client = link.client
    try:
        inbox = client.new_inbox()
        listening = await client.listen(inbox, on_answer)
        try:
            await client.publish(f"{link.api}.DIRECT.GET.{what}", request, reply=inbox)
            await asyncio.wait_for(end, READ_TIMEOUT.total_seconds())
        finally:
            if not client.is_closed:
                await listening.unsubscribe()
    except (nats.errors.Error, TimeoutError, OSError, RuntimeError) as error:
        # RuntimeError: nats-py writes to uvloop's transport, which is closed already.
        heed_cancellation()
        raise SpoolUnavailable(f"{stream} does not answer") from error
    heed_cancellation()
    return answers


def _stored(message: Incoming, stream: str) -> StoredMessage:
    headers = message.fields()
    if headers.get("Nats-Stream") != stream:
        raise SpoolUnavailable(f"an answer for {stream} came from {headers.get('Nats-Stream')}")
    return StoredMessage(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        headers,
        message.data,
    )
