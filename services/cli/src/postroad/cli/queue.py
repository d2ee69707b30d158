"""`postroad queue`: look at the mail that waits, and order what becomes of it, cluster-wide."""

import asyncio
import io
from codecs import getincrementaldecoder
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Annotated
from uuid import uuid4

import typer

from postroad.cli.cluster import Where, open_cluster
from postroad.cli.errors import Failure
from postroad.cli.options import (
    ContextOption,
    JsonFlag,
    NamespaceOption,
    ReleaseOption,
    StateOption,
    where,
)
from postroad.cli.output import ago, print_json, print_table, short, size
from postroad.cli.selection import (
    ClientOption,
    DomainOption,
    IdOption,
    RecipientOption,
    SenderOption,
    build_selection,
)
from postroad.mail.visible import visible_lines
from postroad.spool.agreement import Order
from postroad.spool.interface import Queued, Spool
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.selection import Selection, WaitKind

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the queue and give orders on it, for the whole cluster at once.",
)

_STATES = {WaitKind.READY: "ready", WaitKind.SCHEDULED: "deferred", WaitKind.HELD: "held"}
_ORDER_LIFE = timedelta(hours=1)
_REPORT_WAIT = 10.0  # seconds
AllFlag = Annotated[bool, typer.Option("--all", help="Every message that waits.")]


@app.command("list")
def list_queue(
    state: StateOption = None,
    queue_id: IdOption = None,
    domain: DomainOption = None,
    sender: SenderOption = None,
    recipient: RecipientOption = None,
    client: ClientOption = None,
    held: Annotated[bool, typer.Option("--held", help="Only held mail.")] = False,
    deferred: Annotated[bool, typer.Option("--deferred", help="Only deferred mail.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show no more than N.")] = 100,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    release: ReleaseOption = None,
    as_json: JsonFlag = False,
) -> None:
    """
    List what waits in the queue, without taking it.

    Example: postroad queue list --domain example.net --deferred

    Example: postroad queue list --held --context production --namespace mail
    """
    kinds = frozenset(
        ([WaitKind.HELD] if held else []) + ([WaitKind.SCHEDULED] if deferred else [])
    ) or frozenset(WaitKind)
    selection = build_selection(
        queue_id=queue_id,
        domain=domain,
        sender=sender,
        recipient=recipient,
        client=client,
        kinds=kinds,
    )
    cluster = where(state, context, namespace, release)
    asyncio.run(_list(selection, cluster, limit=limit, as_json=as_json))


async def _list(selection: Selection, cluster: Where, *, limit: int, as_json: bool) -> None:
    async with open_cluster(cluster) as spool:
        found, more = await _find(spool, selection, limit)
    now = datetime.now(UTC)
    if as_json:
        for queued in found:
            print_json(_row(queued))
        return
    columns = ("QUEUE ID", "STATE", "SIZE", "AGE", "NEXT TRY", "TRIES", "FROM", "TO", "LAST REPLY")
    print_table(columns, [_cells(queued, now) for queued in found], empty="The queue is empty.")
    if more:
        typer.echo(f"There are more than {limit}; see them with --limit.", err=True)


async def _find(spool: Spool, selection: Selection, limit: int) -> tuple[list[Queued], bool]:
    found: list[Queued] = []
    async for queued in spool.waiting.list(selection):
        if len(found) == limit:
            return found, True
        found.append(queued)
    return found, False


def _cells(queued: Queued, now: datetime) -> tuple[str, ...]:
    record = queued.record
    waiting = record.pending
    to = ", ".join(str(recipient.mailbox) for recipient in waiting[:3])
    return (
        record.record_id.queue_id,
        _state(queued),
        size(record.size),
        short(now - record.arrival),
        ago(queued.due, now) if queued.due is not None and queued.kind != WaitKind.HELD else "",
        str(record.attempts),
        str(record.reverse_path or "<>"),
        to + (f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""),
        _last_reply(record),
    )


def _state(queued: Queued) -> str:
    hold = queued.record.hold
    state = _STATES[queued.kind]
    return f"{state} ({hold.reason})" if queued.kind is WaitKind.HELD and hold else state


def _last_reply(record: QueueRecord) -> str:
    replies = [r.last for r in record.pending if r.last is not None]
    return max(replies, key=lambda reply: reply.at).text if replies else ""


def _row(queued: Queued) -> dict[str, object]:
    record = queued.record
    return {
        "queue_id": record.record_id.queue_id,
        "record_id": str(record.record_id),
        "state": _STATES[queued.kind],
        "hold_reason": record.hold.reason if record.hold else None,
        "size": record.size,
        "arrival": record.arrival,
        "deadline": record.deadline,
        "due": queued.due,
        "attempts": record.attempts,
        "last_attempt": record.last_attempt,
        "reverse_path": str(record.reverse_path or ""),
        "domain": record.domain,
        "site": record.site,
        "class": record.traffic_class.name.lower(),
        "pool": record.pool,
        "client": record.origin.client,
        "recipients": [
            {
                "address": str(recipient.mailbox),
                "state": recipient.state,
                "last_reply": recipient.last.text if recipient.last else None,
            }
            for recipient in record.recipients
        ],
    }


@app.command("show")
def show(
    queue_id: Annotated[str, typer.Argument(metavar="QUEUE-ID", help="The message to show.")],
    state: StateOption = None,
    content: Annotated[
        bool, typer.Option("--content", help="Print the message itself, header and body.")
    ] = False,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    release: ReleaseOption = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Show one message: its envelope, each recipient's state, and its content if asked for.

    Example: postroad queue show 01JDX3M8Q2V5K7T9W4Y6Z8ABCD --content
    """
    selection = build_selection(
        queue_id=queue_id, domain=None, sender=None, recipient=None, client=None
    )
    cluster = where(state, context, namespace, release)
    asyncio.run(_show(selection, cluster, content=content, as_json=as_json))


async def _show(selection: Selection, cluster: Where, *, content: bool, as_json: bool) -> None:
    async with open_cluster(cluster) as spool:
        found, _ = await _find(spool, selection, 1000)
        if not found:
            raise Failure(
                f"no message {selection.queue_id} waits in the queue;"
                f" `postroad events --id {selection.queue_id}` tells what became of it"
            )
        if content:
            await _show_content(spool, found[0].record)
            return
    for queued in found:
        if as_json:
            print_json(_row(queued))
        else:
            _print_record(queued)


async def _show_content(spool: Spool, record: QueueRecord) -> None:
    # A chunk may end within a character or a line end.
    decoder = io.IncrementalNewlineDecoder(getincrementaldecoder("utf-8")("replace"), True)
    async for chunk in spool.read_body(record):
        typer.echo(visible_lines(decoder.decode(chunk)), nl=False)
    typer.echo(visible_lines(decoder.decode(b"", final=True)), nl=False)


def _print_record(queued: Queued) -> None:
    record, now = queued.record, datetime.now(UTC)
    facts = [
        ("record", str(record.record_id)),
        ("state", _state(queued)),
        ("next try", ago(queued.due, now) if queued.due else "now"),
        ("from", str(record.reverse_path or "<>")),
        ("client", record.origin.client or "none"),
        ("received", f"{record.arrival.isoformat()} from {record.origin.peer or 'this relay'}"),
        ("gives up", ago(record.deadline, now)),
        ("size", size(record.size)),
        ("body", "blob store" if isinstance(record.content, BlobRef) else "inline"),
        ("tries", str(record.attempts)),
    ]
    facts += [
        (f"to {recipient.state.lower()}", _recipient(recipient.mailbox, recipient.last))
        for recipient in record.recipients
    ]
    print_table(("FIELD", "VALUE"), facts, empty="")


def _recipient(mailbox: object, last: object) -> str:
    text = getattr(last, "text", "")
    return f"{mailbox}: {text}" if text else str(mailbox)


def _order_command(action: str, summary: str, kinds: frozenset[WaitKind], example: str) -> None:
    def command(
        state: StateOption = None,
        queue_id: IdOption = None,
        domain: DomainOption = None,
        sender: SenderOption = None,
        recipient: RecipientOption = None,
        client: ClientOption = None,
        everything: AllFlag = False,
        reason: Annotated[
            str, typer.Option(metavar="TEXT", help="Why; it stands in the message's history.")
        ] = "",
        context: ContextOption = None,
        namespace: NamespaceOption = None,
        release: ReleaseOption = None,
        as_json: JsonFlag = False,
    ) -> None:
        named = (queue_id, domain, sender, recipient, client)
        if not any(named) and not everything:
            raise Failure(
                "say which mail: --id, --domain, --from, --to, --client, or --all", code=2
            )
        now = datetime.now(UTC)
        selection = build_selection(
            queue_id=queue_id,
            domain=domain,
            sender=sender,
            recipient=recipient,
            client=client,
            kinds=kinds,
            arrived_before=now,
        )
        order = Order(uuid4().hex, action, selection, now, now + _ORDER_LIFE, now, reason)
        cluster = where(state, context, namespace, release)
        asyncio.run(_give_order(order, cluster, as_json=as_json))

    command.__doc__ = f"{summary}\n\nExample: postroad queue {action} {example}"
    app.command(action)(command)


_WAITING = frozenset({WaitKind.SCHEDULED, WaitKind.HELD})
_order_command(
    "retry", "Try deferred mail at once.", frozenset({WaitKind.SCHEDULED}), "--domain example.net"
)
_order_command(
    "hold",
    "Hold mail: it waits for a person.",
    frozenset({WaitKind.READY, WaitKind.SCHEDULED}),
    "--from shop@example.com",
)
_order_command("release", "Let held mail go on.", frozenset({WaitKind.HELD}), "--all")
_order_command(
    "bounce",
    "Give mail up: its senders get a delivery status notification.",
    frozenset(WaitKind),
    "--id 01JDX3M8Q2V5K7T9W4Y6Z8ABCD",
)


async def _give_order(order: Order, cluster: Where, *, as_json: bool) -> None:
    async with open_cluster(cluster) as spool:
        matching = soon = 0
        async for queued in spool.waiting.list(order.selection):
            matching += 1
            soon += queued.due is not None and not queued.may_be_claimed(order.placed)
        await spool.orders.place(order)
        affected = await _wait_for_reports(spool, order, matching - soon)
    if as_json:
        print_json({"order_id": order.order_id, "matching": matching, "affected": affected})
    elif matching == 0:
        typer.echo("No message fits; nothing was changed.")
    else:
        typer.echo(f"{order.action}: {affected} of {matching} records changed.")
        if affected < matching:
            typer.echo(
                "The rest follows as the delivery processes get to it, or comes due by itself,"
                " unless it was delivered meanwhile.",
                err=True,
            )


async def _wait_for_reports(spool: Spool, order: Order, awaited: int) -> int:
    """Follow what the delivery processes tell until all is done, or it takes too long to watch."""
    affected = 0
    for _ in count() if awaited else ():
        affected = sum((await spool.orders.reports(order.order_id)).values())
        if affected >= awaited:
            break
        if (datetime.now(UTC) - order.placed).total_seconds() > _REPORT_WAIT:
            break
        await asyncio.sleep(0.1)
    return affected
