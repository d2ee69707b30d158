"""
`postroad queue suspend` and `resume`: stops the delivery of some mail for a time.

Unlike other orders, a suspension also applies to mail that arrives later: its purpose is to leave a
destination alone.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import uuid4

import typer

from postroad.cli.errors import CommandError
from postroad.cli.queue.orders import ORDER_LIFE, ReasonOption, YesFlag
from postroad.cli.queue.selection import NOTHING_SAID, Mail, describe
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal.options import JsonFlag
from postroad.cli.terminal.output import ago, print_json, stamp
from postroad.cli.terminal.values import duration
from postroad.mail.visible import visible
from postroad.spool.agreement import Order
from postroad.spool.interface import Spool
from postroad.spool.selection import Selection, WaitKind

_ACTION = "suspend"
_LONGEST = timedelta(days=30)
_BEFORE = timedelta(microseconds=1)
_TAKEN = frozenset({WaitKind.READY})  # records about to be tried; deferred ones become ready


def suspend(
    cluster: Where,
    mail: Mail,
    everything: Annotated[bool, typer.Option("--all", help="All mail.")] = False,
    length: Annotated[
        timedelta,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=duration("--for", _LONGEST),
            help="How long: 30m, 4h, 2d; 30d at most.",
            show_default="1h",
        ),
    ] = timedelta(hours=1),
    reason: ReasonOption = "",
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """
    Suspend delivery of some mail for a time, also of mail that is accepted meanwhile.

    Mail is accepted as usual and stays deferred. It still expires, and its senders still get delay
    warnings. Mail that is being sent at this moment may go out. `queue resume` ends the suspension
    early. With --to it applies to whole messages at that recipient's domain, so also to their other
    recipients there.

    Example: postroad queue suspend --domain example.net --for 2h --reason 'their maintenance'
    """
    now = datetime.now(UTC)
    selection = _selection(mail, everything=everything)
    order = Order(uuid4().hex, _ACTION, selection, now, now + length, None, reason)
    if (
        everything
        and not yes
        and sys.stdin.isatty()
        and not typer.confirm("suspend all mail?", err=True)
    ):
        raise CommandError("nothing was changed")
    asyncio.run(_suspend(cluster, order))
    if as_json:
        print_json({"order_id": order.order_id, "action": _ACTION, "until": order.until})
        return
    meant = visible(describe(selection))
    typer.echo(
        f"Suspended: {meant}, until {stamp(order.until)} ({ago(order.until, now)});"
        f" `postroad queue resume {meant}{cluster.flags}` ends it."
    )


def resume(
    cluster: Where,
    mail: Mail,
    everything: Annotated[bool, typer.Option("--all", help="End every suspension.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """
    End the suspension that was given with these options, and try its mail now.

    Example: postroad queue resume --domain example.net
    """
    selection = _selection(mail, everything=everything)
    ended = asyncio.run(_resume(cluster, None if everything else selection))
    for order in ended:
        if as_json:
            print_json({"order_id": order.order_id, "action": _ACTION, "cancelled": True})
        else:
            typer.echo(f"Resumed: {visible(describe(order.selection))}; what waits is tried now.")


def _selection(mail: Mail, *, everything: bool) -> Selection:
    if mail == Mail() and not everything:
        raise CommandError(NOTHING_SAID, code=2)
    if mail != Mail() and everything:
        raise CommandError("--all means all mail: leave out --all, or what narrows it", code=2)
    choice = mail.choice(kinds=_TAKEN)
    if choice.client_name is not None:
        raise CommandError(
            f"--client takes NAMESPACE/NAME here, not {choice.client_name!r}", code=2
        )
    return choice.selection


async def _suspend(cluster: Where, order: Order) -> None:
    """Place the order; it replaces suspensions of the same mail."""
    async with open_cluster(cluster) as spool:
        before = _standing(spool, order.selection)
        await spool.orders.place(order)
        for each in before:
            await spool.orders.withdraw(each.order_id)


async def _resume(cluster: Where, selection: Selection | None) -> Sequence[Order]:
    async with open_cluster(cluster) as spool:
        found = _standing(spool, selection)
        if not found:
            meant = "" if selection is None else f" by {describe(selection)}"
            listing = f"`postroad queue orders{cluster.flags}`"
            raise CommandError(f"nothing is suspended{meant}; {listing} lists the orders")
        for order in found:
            await spool.orders.withdraw(order.order_id)
            await try_again(spool, order)
        return found


def _standing(spool: Spool, selection: Selection | None) -> Sequence[Order]:
    """Return the suspensions in force of a selection; all of them if it is None."""
    return [
        order
        for order in spool.orders.in_force(datetime.now(UTC))
        if order.action == _ACTION and selection in (None, order.selection)
    ]


async def try_again(spool: Spool, ended: Order) -> None:
    """Try at once the mail that an ended suspension has put off; do nothing for other orders."""
    if ended.action != _ACTION:
        return
    now = datetime.now(UTC)
    waiting = replace(ended.selection, kinds=frozenset({WaitKind.DEFERRED}))
    # The later of two orders decides: a retry placed before every suspension overrides none.
    oldest = min(each.placed for each in (ended, *_standing(spool, None)))
    await spool.orders.place(
        Order(uuid4().hex, "retry", waiting, oldest - _BEFORE, now + ORDER_LIFE, now, "resumed")
    )
