"""
`postroad queue retry`, `hold`, `release`, `bounce` and `delete`: orders for queued mail.

The matching mail is counted first. Without any, no order is given. An order that cannot be undone,
or that means every message, needs a confirmation: at the terminal or by `--yes`.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import typer

from postroad.cli.errors import CommandError
from postroad.cli.queue.actions import ACTIONS, OrderAction
from postroad.cli.queue.matches import Matches, count, count_unreadable, number_of
from postroad.cli.queue.selection import NOTHING_SAID, Choice, Mail
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal import values
from postroad.cli.terminal.options import JsonFlag
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.tables import Column, print_table
from postroad.spool.agreement import ENDING, Order
from postroad.spool.interface import Spool

ORDER_LIFE = timedelta(hours=1)
_REPORT_WAIT = 10.0  # seconds
_DOMAINS = 10  # shown before a question

AllFlag = Annotated[bool, typer.Option("--all", help="Every message that waits.")]
YesFlag = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Do not ask. Otherwise --all asks at a terminal, whatever the order."
    ),
]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Count the mail; change nothing.")]
ReasonOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        parser=values.reason,
        help="Why. It is shown in the message's history, with held mail, and in the notification"
        " of bounced mail.",
    ),
]


def order_command(action: OrderAction) -> Callable[..., None]:
    """Return the command that gives an order of this kind."""

    def command(
        cluster: Where,
        mail: Mail,
        everything: AllFlag = False,
        reason: ReasonOption = "",
        yes: YesFlag = False,
        dry_run: DryRunFlag = False,
        as_json: JsonFlag = False,
    ) -> None:
        if mail == Mail() and not everything:
            raise CommandError(NOTHING_SAID, code=2)
        now = datetime.now(UTC)
        choice = mail.choice(kinds=action.kinds, arrived_before=now)
        asks = not yes and not dry_run and (bool(action.warning) or everything)
        if asks and not sys.stdin.isatty():
            asks = _refuse_unasked(action)
        given = _Given(action, choice, reason, now, asks=asks, dry_run=dry_run, as_json=as_json)
        _run(given, cluster)

    command.__doc__ = f"{action.help}\n\nExample: postroad queue {action.name} {action.example}"
    return command


def _refuse_unasked(action: OrderAction) -> bool:
    """Return False: without a terminal nothing is asked; CommandError if it must be asked."""
    if action.warning:
        raise CommandError(
            f"`queue {action.name}` cannot be undone, and there is no terminal to ask at:"
            " say --yes, or see what fits with --dry-run",
            code=2,
        )
    return False


@dataclass(frozen=True, slots=True)
class _Given:
    action: OrderAction
    choice: Choice
    reason: str
    now: datetime
    asks: bool
    dry_run: bool
    as_json: bool


def _run(given: _Given, cluster: Where) -> None:
    found = asyncio.run(_count(given, cluster))
    # A hold that is still being carried out has not held all its mail yet: release that, too.
    to_come = given.action.name == "release" and found.holds
    if given.dry_run or not (found.records or found.unreadable or to_come):
        _tell_count(given, found)
        return
    # Asked without a connection and an event loop: a loop would catch Ctrl-C.
    if given.asks and not _agreed(given.action, found):
        raise CommandError("nothing was changed")
    order, affected = asyncio.run(_give(given, cluster, found))
    # A record that moved in the queue during the count was missed, but the order reached it.
    found = replace(found, records=max(found.records, affected))
    _tell_order(given, order, found, affected, cluster)


async def _count(given: _Given, cluster: Where) -> Matches:
    async with open_cluster(cluster) as spool:
        found = await count(spool, given.choice, given.now)
        if given.action.name == "delete" and not found.records:
            found = replace(found, unreadable=await count_unreadable(spool, given.choice))
        return found


async def _give(given: _Given, cluster: Where, found: Matches) -> tuple[Order, int]:
    """Place the order, and return it with the number of records it has changed."""
    now = datetime.now(UTC)
    order = Order(
        uuid4().hex,
        given.action.name,
        found.selection,
        now,
        now + ORDER_LIFE,
        given.now,
        given.reason,
    )
    async with open_cluster(cluster) as spool:
        await spool.orders.place(order)
        return order, await _wait_for_reports(spool, order, found.records - found.due_soon)


def _agreed(action: OrderAction, found: Matches) -> bool:
    """Ask at the terminal; the default answer is no."""
    _print_domains(found)
    _tell_others(action, found)
    warning = f" ({action.warning})" if action.warning else ""
    return typer.confirm(f"{action.name} {found.told(action)}?{warning}", err=True)


def _print_domains(found: Matches) -> None:
    domains = found.domains or found.unreadable
    rows = [(domain, str(number)) for domain, number in domains.items()]
    print_table((Column("DOMAIN"), Column("RECORDS")), rows[:_DOMAINS], empty="")
    if len(rows) > _DOMAINS:
        typer.echo(f"and {len(rows) - _DOMAINS} more domains")


def _tell_count(given: _Given, found: Matches) -> None:
    if given.as_json:
        print_json(
            {
                "action": given.action.name,
                **found.numbers(),
                "affected": 0,
                **_suspended(given.action, found),
                **_unreadable(given.action, found),
                "domains": found.domains or found.unreadable,
            }
        )
    elif not (found.records or found.unreadable):
        typer.echo("No message fits; nothing was changed.")
    else:
        _print_domains(found)
        typer.echo(
            f"{given.action.name} would change {found.told(given.action)}; nothing was changed."
        )
        _tell_others(given.action, found)
        _tell_suspended(given.action, found)


def _tell_order(given: _Given, order: Order, found: Matches, affected: int, cluster: Where) -> None:
    if given.as_json:
        print_json(
            {
                "order_id": order.order_id,
                "action": order.action,
                **found.numbers(),
                "affected": affected,
                **_suspended(given.action, found),
                **_unreadable(given.action, found),
            }
        )
        return
    if found.unreadable:
        said = f"{order.action}: {found.told(given.action)}; each is deleted when it is taken."
        typer.echo(f"{said} The order stands for an hour.")
        return
    typer.echo(f"{order.action}: {affected} of {found.records} records changed.")
    _tell_others(given.action, found)
    _tell_suspended(given.action, found)
    if affected < found.records:
        typer.echo(
            "The rest follows as the delivery processes get to it, or comes due by itself, unless"
            " it was delivered meanwhile. The order stands for an hour;"
            f" `postroad queue cancel {order.order_id[:8]}{cluster.flags}` ends it.",
            err=True,
        )


def _tell_others(action: OrderAction, found: Matches) -> None:
    """Say what the order means for other recipients in the same records."""
    if found.others:
        others = number_of(found.others, "other recipient")
        where = "of the same mail at the same domain"
        ends = action.name in ENDING
        said = f"Not ended: {others} {where}." if ends else f"Meant too: {others} {where}."
        typer.echo(said, err=True)


def _suspended(action: OrderAction, found: Matches) -> Mapping[str, int]:
    """Return the suspended mail, for a release alone: other orders need not mention it."""
    return {"suspended": found.suspended} if action.name == "release" else {}


def _unreadable(action: OrderAction, found: Matches) -> Mapping[str, int]:
    """Return the malformed records that a deletion ends, if nothing else fits."""
    return {"unreadable": sum(found.unreadable.values())} if action.name == "delete" else {}


def _tell_suspended(action: OrderAction, found: Matches) -> None:
    if number := _suspended(action, found).get("suspended"):
        typer.echo(
            f"Suspended: {number} of them, deferred until `postroad queue resume`;"
            " `postroad queue retry` sends them now.",
            err=True,
        )


async def _wait_for_reports(spool: Spool, order: Order, awaited: int) -> int:
    """Follow the reports of the delivery processes until all is done, or the wait is over."""
    affected = 0
    while affected < awaited:
        affected = sum((await spool.orders.reports(order.order_id)).values())
        if (datetime.now(UTC) - order.placed).total_seconds() > _REPORT_WAIT:
            break
        await asyncio.sleep(0.1)
    return affected


retry, hold, release, bounce, delete = map(order_command, ACTIONS)
