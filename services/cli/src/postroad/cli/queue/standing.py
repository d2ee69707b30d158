"""`postroad queue orders` and `queue cancel`: lists the orders in force, and ends one early."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from postroad.cli.errors import CommandError
from postroad.cli.queue.selection import describe
from postroad.cli.queue.suspension import try_again
from postroad.cli.target.connect import open_cluster
from postroad.cli.target.options import Where
from postroad.cli.terminal.options import Form, FormOption, JsonFlag
from postroad.cli.terminal.output import ago, print_json
from postroad.cli.terminal.tables import Column, print_table
from postroad.mail.visible import visible
from postroad.spool.agreement import Order
from postroad.spool.interface import Spool

_ID = 8  # characters of an order's id that are shown; `cancel` accepts any unique beginning
_COLUMNS = (
    Column("ORDER"),
    Column("ACTION"),
    Column("MAIL", 1, 16),
    Column("CHANGED", 4),
    Column("GIVEN", 5),
    Column("ENDS", 2),
    Column("REASON", 3, 8),
)


def orders(cluster: Where, form: FormOption = None, as_json: JsonFlag = False) -> None:
    """
    List the orders in force: the mail of each, how much it has changed, and when it ends.

    An order is in force for an hour, so that a process that starts meanwhile obeys it too. It
    applies to mail that was accepted before it. A suspension is in force for its time, and applies
    to later mail too; each time that it puts a message off counts. All other orders count each
    message once. A delivery process reports its changes within a second; they are missing if it was
    killed before.

    Example: postroad queue orders -o wide
    """
    found = asyncio.run(_look(cluster))
    if as_json or form is Form.JSON:
        for order, changed in found:
            print_json(row(order, changed))
    else:
        print_orders(found, wide=form is Form.WIDE, empty="No order is in force.")


async def _look(cluster: Where) -> list[tuple[Order, int]]:
    async with open_cluster(cluster) as spool:
        return await standing(spool)


async def standing(spool: Spool) -> list[tuple[Order, int]]:
    """Return the orders in force, oldest first, each with the number of records it has changed."""
    return [
        (order, sum((await spool.orders.reports(order.order_id)).values()))
        for order in spool.orders.in_force(datetime.now(UTC))
    ]


def print_orders(found: Sequence[tuple[Order, int]], *, wide: bool, empty: str) -> None:
    """Print orders, each with the number of records it has changed."""
    now = datetime.now(UTC)
    rows = [
        (
            order.order_id[:_ID],
            order.action,
            describe(order.selection),
            str(changed),
            ago(order.placed, now),
            ago(order.until, now),
            order.reason,
        )
        for order, changed in found
    ]
    print_table(_COLUMNS, rows, empty=empty, wide=wide)


def row(order: Order, changed: int) -> dict[str, object]:
    """Return an order as a row of JSON."""
    return {
        "order_id": order.order_id,
        "action": order.action,
        "mail": describe(order.selection),
        "accepted_before": order.cutoff,
        "placed": order.placed,
        "until": order.until,
        "reason": order.reason,
        "affected": changed,
    }


def cancel(
    cluster: Where,
    order_id: Annotated[
        str, typer.Argument(metavar="ORDER", help="The order's id, or the beginning of it.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """
    End an order before its time.

    What it has already changed stays changed. Mail that a suspension has put off is tried.

    Example: postroad queue cancel 3f2a91c0
    """
    order = asyncio.run(_cancel(order_id, cluster))
    if as_json:
        print_json({"order_id": order.order_id, "action": order.action, "cancelled": True})
    else:
        meant = visible(f"{order.action} {describe(order.selection)}")
        suspension = order.action == "suspend"
        rest = "waits is tried now" if suspension else "it has changed already stays as it is"
        typer.echo(f"Cancelled: {meant}. What {rest}.")


async def _cancel(text: str, cluster: Where) -> Order:
    async with open_cluster(cluster) as spool:
        order = named(text, spool.orders.in_force(datetime.now(UTC)), cluster)
        if not await spool.orders.withdraw(order.order_id):
            raise CommandError(f"the order {order.order_id} has ended already")
        await try_again(spool, order)
        return order


def named(text: str, standing: Sequence[Order], cluster: Where) -> Order:
    """Return the order whose id begins with a text; CommandError if there is none, or several."""
    found = [order for order in standing if text and order.order_id.startswith(text.lower())]
    if not found:
        listing = f"`postroad queue orders{cluster.flags}`"
        raise CommandError(f"no order {text!r} is in force; {listing} lists them")
    if len(found) > 1:
        raise CommandError(f"{len(found)} orders begin with {text!r}: give more of the id", code=2)
    return found[0]
