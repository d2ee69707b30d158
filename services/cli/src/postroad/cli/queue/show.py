"""`postroad queue show`: shows one message with everything that the queue knows about it."""

import asyncio
import io
from codecs import getincrementaldecoder
from datetime import UTC, datetime
from typing import Annotated

import typer

from postroad.cli.errors import CommandError
from postroad.cli.queue.listing import STATES, oldest_of, row
from postroad.cli.queue.selection import Choice, Mail, read_queue_id
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal.options import JsonFlag
from postroad.cli.terminal.output import ago, print_json, size, stamp
from postroad.cli.terminal.tables import Column, print_table
from postroad.mail.visible import visible_lines
from postroad.spool.interface import Queued, Spool
from postroad.spool.record import ADMIN, BlobRef, LastReply, QueueRecord
from postroad.spool.selection import WaitKind

_PARTS = 1000  # of one message, at most


def show(
    cluster: Where,
    queue_id: Annotated[str, typer.Argument(metavar="QUEUE-ID", help="The message to show.")],
    content: Annotated[
        bool, typer.Option("--content", help="Print the message itself, header and body.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """
    Show one message: its envelope, each recipient's state, and its content if asked for.

    Example: postroad queue show 01JDX3M8Q2V5K7T9W4Y6Z8ABCD --content
    """
    choice = Mail(queue_id=read_queue_id(queue_id, "QUEUE-ID")).choice()
    asyncio.run(_show(choice, cluster, content=content, as_json=as_json))


async def _show(choice: Choice, cluster: Where, *, content: bool, as_json: bool) -> None:
    async with open_cluster(cluster) as spool:
        found = (await oldest_of(choice.of(spool), _PARTS)).shown
        if not found:
            queue_id = choice.selection.queue_id
            raise CommandError(
                f"no message {queue_id} waits in the queue;"
                f" `postroad events --id {queue_id}{cluster.flags}` tells what became of it"
            )
        if content:
            await _show_content(spool, found[0].record)
            return
    for queued in found:
        if as_json:
            print_json(row(queued))
        else:
            _print_record(queued)


async def _show_content(spool: Spool, record: QueueRecord) -> None:
    # A chunk may end inside a character or inside a CRLF.
    decoder = io.IncrementalNewlineDecoder(getincrementaldecoder("utf-8")("replace"), True)
    async for chunk in spool.read_body(record):
        typer.echo(visible_lines(decoder.decode(chunk)), nl=False)
    typer.echo(visible_lines(decoder.decode(b"", final=True)), nl=False)


def _print_record(queued: Queued) -> None:
    record, hold, now = queued.record, queued.record.hold, datetime.now(UTC)
    facts = [
        ("record", str(record.record_id)),
        ("state", STATES[queued.kind]),
        ("next try", _moment(queued.due, now) if queued.due else "now"),
        ("from", str(record.reverse_path or "<>")),
        ("client", record.origin.client or "none"),
        ("received", f"{_moment(record.arrival, now)} from {record.origin.peer or 'this relay'}"),
        ("gives up", _moment(record.deadline, now)),
        ("size", size(record.size)),
        ("body", "blob store" if isinstance(record.content, BlobRef) else "inline"),
        ("tries", str(record.attempts)),
    ]
    if queued.kind is WaitKind.HELD and hold is not None:
        why = f"by order: {hold.note}" if hold.reason == ADMIN and hold.note else hold.reason
        end = f"{hold.on_expiry.lower()} {_moment(queued.due, now)}" if queued.due else ""
        facts[2:3] = [("held", why), ("hold ends", end)]
    facts += [
        (f"to {recipient.state.lower()}", _recipient(str(recipient.mailbox), recipient.last, now))
        for recipient in record.recipients
    ]
    print_table((Column("FIELD"), Column("VALUE")), facts, empty="")


def _moment(moment: datetime, now: datetime) -> str:
    return f"{stamp(moment)} ({ago(moment, now)})"


def _recipient(mailbox: str, last: LastReply | None, now: datetime) -> str:
    return f"{mailbox}: {last.text} ({ago(last.at, now)})" if last and last.text else mailbox
