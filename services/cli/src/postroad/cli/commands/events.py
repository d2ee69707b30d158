"""`postroad events`: shows what happened to mail, from the cluster's event stream."""

import asyncio
import heapq
import json
import random
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from postroad.cli.errors import CommandError
from postroad.cli.queue.selection import read_queue_id
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal.options import JsonFlag
from postroad.cli.terminal.output import print_json, short, stamp
from postroad.cli.terminal.values import duration, listed, wrong
from postroad.mail.visible import visible
from postroad.process.background.backoff import Backoff
from postroad.spool.event import Event, EventType, HistoryPosition
from postroad.spool.ids import arrival_of

_STYLES = {
    EventType.DELIVERY: "green",
    EventType.BOUNCE: "red",
    EventType.EXPIRATION: "red",
    EventType.ADMIN_BOUNCE: "red",
    EventType.REJECTION: "red",
    EventType.TRANSIENT_FAILURE: "yellow",
    EventType.HELD: "yellow",
    EventType.DELAYED: "yellow",
}
_AWAY = timedelta(minutes=5)  # so long a relay may be away while its events are followed
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))
_LATEST = timedelta(seconds=2)  # processes write ten batches a second: no event is older than this


def event_type(text: str) -> EventType:
    """Read a type as people call it (deferred), or as it is stored (TransientFailure)."""
    for kind in EventType:
        if text.lower() in (kind.word, kind.value.lower()):
            return kind
    raise wrong("--type", listed(kind.word for kind in EventType), text)


def events(
    cluster: Where,
    queue_id: Annotated[
        str | None, typer.Option("--id", metavar="QUEUE-ID", help="Only this message's history.")
    ] = None,
    kind: Annotated[
        list[EventType] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            parser=event_type,
            help=f"Only these: {', '.join(kind.word for kind in EventType)}; may be repeated.",
        ),
    ] = None,
    since: Annotated[
        timedelta,
        typer.Option(
            metavar="DURATION",
            parser=duration("--since", timedelta(days=365)),
            help="How far to look back: 90s, 15m, 12h, 3d.",
            show_default="1h",
        ),
    ] = timedelta(hours=1),
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue with new events.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """
    Show what happened to mail, oldest first; with --follow in the order it becomes known.

    Example: postroad events --follow --type bounced --type expired

    Example: postroad events --id 01JDX3M8Q2V5K7T9W4Y6Z8ABCD

    Example: postroad events --namespace mail --since 15m
    """
    wanted, start = _wanted(queue_id, since)
    types = frozenset(kind) if kind else None
    asyncio.run(_print(cluster, wanted, start, types, follow=follow, as_json=as_json))


def _wanted(queue_id: str | None, since: timedelta) -> tuple[str | None, datetime]:
    if queue_id is not None:
        wanted = read_queue_id(queue_id)
        # A message has no events before its arrival.
        return wanted, arrival_of(wanted) - timedelta(seconds=1)
    return None, datetime.now(UTC) - since


async def _print(
    cluster: Where,
    queue_id: str | None,
    since: datetime,
    types: frozenset[EventType] | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    console = Console(highlight=False)
    shown = 0
    if follow:
        history = _followed(cluster, since, types)
    else:
        history = in_order(_stored(cluster, since, types))
    async for event in history:
        if queue_id is not None and event.queue_id != queue_id:
            continue
        shown += 1
        if as_json:
            print_json(_row(event))
        else:
            console.print(line(event), soft_wrap=True)
    if not shown and not as_json:
        print(_nothing(queue_id, since, types))


async def _stored(
    cluster: Where, since: datetime, types: frozenset[EventType] | None
) -> AsyncIterator[Event]:
    async with open_cluster(cluster) as spool:
        async for event in spool.events.read(since=since, types=types):
            yield event


async def _followed(
    cluster: Where, since: datetime, types: frozenset[EventType] | None
) -> AsyncIterator[Event]:
    """
    Yield events, and go on with new ones where this was left when the relay was away for a while.

    It may be somewhere else then: `up` has another port at each start. CommandError if it is away
    for too long.
    """
    loop = asyncio.get_running_loop()
    position = HistoryPosition()
    failures, patient_until = 0, float("-inf")  # the first time it has to be there
    while True:
        try:
            async with open_cluster(cluster) as spool:
                if failures:
                    typer.echo("postroad: the relay answers again", err=True)
                failures, patient_until = 0, float("inf")
                async for event in spool.events.read(
                    since=since, types=types, follow=True, position=position
                ):
                    yield event
        except CommandError as error:
            if loop.time() > patient_until:
                raise
            if not failures:
                patient_until = loop.time() + _AWAY.total_seconds()
                typer.echo(visible(f"postroad: {error}; waiting for it"), err=True)
            failures += 1
        await asyncio.sleep(_BACKOFF.seconds(failures, random))


def _nothing(queue_id: str | None, since: datetime, types: frozenset[EventType] | None) -> str:
    """Return the sentence for an empty answer: what was searched, and how to search further."""
    named = f" of type {' or '.join(sorted(kind.word for kind in types))}" if types else ""
    if queue_id is not None:
        return f"No events{named} of {queue_id}; the history keeps seven days."
    span = short(datetime.now(UTC) - since)
    return f"No events{named} in the last {span} (--since looks further back)."


async def in_order(history: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """
    Put events in the order in which they happened, holding back those of the last two seconds.

    Each process writes its events in its own batches, so a delivery may be stored before the
    reception of the same message.
    """
    waiting: list[tuple[datetime, int, Event]] = []
    number = 0
    async for event in history:
        number += 1  # of two events at the same time, the one stored first comes first
        heapq.heappush(waiting, (event.at, number, event))
        while waiting[0][0] < event.at - _LATEST:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _row(event: Event) -> dict[str, object]:
    return {name: value for name, value in asdict(event).items() if value not in ("", None, 0, ())}


def line(event: Event) -> Text:
    """Return an event as a line for people."""
    text = Text(f"{stamp(event.at)}  ")
    text.append(f"{event.type.word:<13}", style=_STYLES.get(event.type, ""))
    text.append(visible(f"  {event.queue_id or '-'}  {_story(event)}"))
    return text


def _story(event: Event) -> str:
    parts = []
    if event.command:
        parts.append(f"at {event.command}")
    if event.type in (EventType.RECEPTION, EventType.REJECTION):
        parts += _origin(event)
    if event.recipients:
        more = f" and {len(event.recipients) - 3} more" if len(event.recipients) > 3 else ""
        parts.append(f"to {', '.join(event.recipients[:3])}{more}")
    if event.host:
        parts.append(f"via {event.host}")
    if event.attempt:
        parts.append(f"try {event.attempt}")
    if event.type is EventType.DELIVERY and event.delay:
        parts.append(f"after {event.delay:.1f} s")
    if event.reply or event.reason:
        parts.append(json.dumps(event.reply or event.reason, ensure_ascii=False))
    if event.ambiguous:
        parts.append("ambiguous: the peer may have it")
    if event.left_out:
        parts.append(f"and {event.left_out} alike before it")
    return ", ".join(parts)


def _origin(event: Event) -> list[str]:
    """Return who sent the message: the Client, the peer's address, and its EHLO name."""
    parts = []
    if event.reverse_path or event.command in ("", "RCPT", "DATA"):
        parts.append(f"from {event.reverse_path or '<>'}")
    if event.client:
        parts.append(f"client {event.client}")
    if event.user:
        parts.append(f"user {event.user}")
    helo = f" (helo {event.helo})" if event.helo else ""
    return [*parts, f"peer {event.peer_address or 'unknown'}{helo}"]
