"""
`postroad queue list`: lists queued mail without taking it.

A message to several domains is several records. They are listed one after the other, the oldest
message first. The queue is not stored in that order, so a listing reads more records than it shows.
There is a bound: it does not read a million records to show a hundred.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from postroad.cli.queue.selection import Choice, Mail
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal import values
from postroad.cli.terminal.options import Form, FormOption, JsonFlag
from postroad.cli.terminal.output import ago, print_json, short, size
from postroad.cli.terminal.tables import Column, print_table
from postroad.spool.interface import Queued
from postroad.spool.record import QueueRecord
from postroad.spool.selection import Selection, WaitKind

STATES = {kind: kind.word for kind in WaitKind}
_LOOKED_AT = 2000  # records that a listing reads at least, to find the oldest
_COLUMNS = (
    Column("QUEUE ID"),
    Column("PART", 2),
    Column("STATE", 1, 8),
    Column("SIZE", 8),
    Column("AGE", 3),
    Column("NEXT TRY", 4),
    Column("TRIES", 7),
    Column("FROM", 6, 16),
    Column("TO", 2, 16),
    Column("LAST REPLY", 5, 20),
)


@dataclass(frozen=True, slots=True)
class QueueListing:
    """The oldest of the records that were read; `whole` if these were all that match."""

    shown: Sequence[Queued]
    seen: int
    whole: bool

    def note(self, cluster: Where) -> str:
        """Return a sentence about the records that are not shown."""
        if not self.whole:
            return (
                f"These are the oldest {len(self.shown)} of the first {self.seen} records; there"
                f" are more. Narrow it down, or see `postroad status{cluster.flags}` for how many"
                " there are."
            )
        if self.seen > len(self.shown):
            return f"These are the oldest {len(self.shown)} of {self.seen}; see more with --limit."
        return ""


def list_queue(
    cluster: Where,
    mail: Mail,
    held: Annotated[bool, typer.Option("--held", help="Only held mail.")] = False,
    deferred: Annotated[bool, typer.Option("--deferred", help="Only deferred mail.")] = False,
    limit: Annotated[
        int,
        typer.Option(metavar="N", parser=values.whole("--limit", 1), help="Show no more than N."),
    ] = 100,
    form: FormOption = None,
    as_json: JsonFlag = False,
) -> None:
    """
    List what waits in the queue, oldest first, without taking it.

    Mail to several domains has a line for each domain; PART counts the lines that still wait. With
    --to the list shows all recipients of that mail at that domain, the one asked for first.

    Example: postroad queue list --domain example.net --deferred

    Example: postroad queue list --held --context production --namespace mail
    """
    kinds = frozenset(
        ([WaitKind.HELD] if held else []) + ([WaitKind.DEFERRED] if deferred else [])
    ) or frozenset(WaitKind)
    choice = mail.choice(kinds=kinds)
    everything = choice == Mail().choice()
    listing = asyncio.run(_look(choice, cluster, limit))
    if as_json or form is Form.JSON:
        for queued in listing.shown:
            print_json(row(queued))
    else:
        _print_listing(listing, choice.selection, everything=everything, wide=form is Form.WIDE)
    if note := listing.note(cluster):
        typer.echo(note, err=True)


async def _look(choice: Choice, cluster: Where, limit: int) -> QueueListing:
    async with open_cluster(cluster) as spool:
        return await oldest_of(choice.of(spool), limit)


async def oldest_of(found: AsyncIterator[Queued], limit: int) -> QueueListing:
    """Return the oldest `limit` of the records found, those of one message together."""
    kept: list[Queued] = []
    seen = 0
    whole = True
    async for queued in found:
        if seen == max(limit, _LOOKED_AT):
            whole = False
            break
        seen += 1
        kept.append(queued)
        if len(kept) == 2 * limit:
            kept = sorted(kept, key=_age)[:limit]
    return QueueListing(sorted(kept, key=_age)[:limit], seen, whole)


def _age(queued: Queued) -> tuple[datetime, str, int]:
    record = queued.record
    return record.arrival, record.record_id.queue_id, record.record_id.destination


def _print_listing(
    listing: QueueListing, selection: Selection, *, everything: bool, wide: bool
) -> None:
    now = datetime.now(UTC)
    parts = Counter(queued.record.record_id.queue_id for queued in listing.shown)
    numbers: Counter[str] = Counter()
    rows = []
    for queued in listing.shown:
        queue_id = queued.record.record_id.queue_id
        numbers[queue_id] += 1
        part = f"{numbers[queue_id]}/{parts[queue_id]}" if parts[queue_id] > 1 else ""
        rows.append(_cells(queued, selection, part, now))
    # Most messages go to one domain, so the column PART would often be empty.
    kept = [
        n
        for n, each in enumerate(_COLUMNS)
        if each.name != "PART" or max(parts.values(), default=0) > 1
    ]
    print_table(
        [_COLUMNS[number] for number in kept],
        [[row[number] for number in kept] for row in rows],
        empty="The queue is empty." if everything else "No message fits.",
        wide=wide,
    )


def _cells(queued: Queued, selection: Selection, part: str, now: datetime) -> tuple[str, ...]:
    record = queued.record
    # Only some of many recipients fit: those that --to names come first.
    waiting = sorted(record.pending, key=lambda each: not selection.names(each))
    to = ", ".join(str(recipient.mailbox) for recipient in waiting[:3])
    return (
        record.record_id.queue_id,
        part,
        _state(queued),
        size(record.size),
        short(now - record.arrival),
        _next_try(queued, now),
        str(record.attempts),
        str(record.reverse_path or "<>"),
        to + (f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""),
        last_reply(record),
    )


def _state(queued: Queued) -> str:
    state, hold = STATES[queued.kind], queued.record.hold
    if queued.kind is not WaitKind.HELD or hold is None:
        return state
    return f"{state} ({hold.note or hold.reason})"


def _next_try(queued: Queued, now: datetime) -> str:
    if queued.due is None:
        return "now"
    if queued.due <= now:
        return "due"
    hold = queued.record.hold
    if queued.kind is WaitKind.HELD and hold is not None:
        return f"{hold.on_expiry.lower()} {ago(queued.due, now)}"
    return ago(queued.due, now)


def last_reply(record: QueueRecord) -> str:
    """Return the last reply to the recipients that wait, "" if there is none."""
    replies = [r.last for r in record.pending if r.last is not None]
    return max(replies, key=lambda reply: reply.at).text if replies else ""


def row(queued: Queued) -> dict[str, object]:
    """Return a record as a row of JSON."""
    record = queued.record
    return {
        "queue_id": record.record_id.queue_id,
        "record_id": str(record.record_id),
        "state": STATES[queued.kind],
        "hold_reason": record.hold.reason if record.hold else None,
        "hold_note": record.hold.note if record.hold else None,
        "size": record.size,
        "arrival": record.arrival,
        "deadline": record.deadline,
        "due": queued.due,
        "attempts": record.attempts,
        "last_attempt": record.last_attempt,
        "reverse_path": str(record.reverse_path or ""),
        "domain": record.domain,
        "site": record.site,
        "class": record.traffic_class.word,
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
