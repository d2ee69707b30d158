"""What fits an order on the queue, counted before it is given: messages, records, recipients."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from postroad.cli.queue.actions import OrderAction
from postroad.cli.queue.selection import Choice
from postroad.spool.agreement import ENDING
from postroad.spool.interface import Queued, Spool
from postroad.spool.selection import Selection, WaitKind


@dataclass(frozen=True, slots=True)
class Matches:
    """
    What fits an order, by number.

    `due_soon` comes due by itself before it could be changed; `suspended` is to a destination whose
    suspension stands. `recipients` are those who wait and fit, `others` those who wait in the same
    records and do not: with --to. `holds` tells whether a hold stands that may not be done yet.
    """

    selection: Selection
    records: int
    messages: int
    due_soon: int
    suspended: int
    recipients: int
    others: int
    domains: Mapping[str, int]
    holds: bool

    def told(self, action: OrderAction) -> str:
        """Return how much an order changes: recipients, where it leaves others of a message."""
        messages = number_of(self.messages, "message")
        if self.others and action.name in ENDING:
            return f"{number_of(self.recipients, 'recipient')} of {messages}"
        if self.records == self.messages:
            return messages
        return f"{messages} ({self.records} records, one for each domain)"

    def numbers(self) -> Mapping[str, int]:
        """Return how much fits, as JSON tells it."""
        return {
            "matching": self.records,
            "messages": self.messages,
            "recipients": self.recipients,
            "other_recipients": self.others,
        }


def number_of(number: int, what: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


async def count(spool: Spool, choice: Choice, now: datetime) -> Matches:
    """Count what fits; CommandError when a Client's name fits several."""
    messages: set[str] = set()
    domains: Counter[str] = Counter()
    orders = spool.orders.in_force(now)
    suspensions = [order for order in orders if order.action == "suspend"]
    due_soon = suspended = recipients = others = 0
    one: list[Queued] = []
    async for queued in choice.of(spool):
        one = one or [queued]
        messages.add(queued.record.record_id.queue_id)
        domains[queued.record.domain] += 1
        meant = sum(map(choice.selection.names, queued.record.pending))
        recipients += meant
        others += len(queued.record.pending) - meant
        due_soon += queued.due is not None and not queued.may_be_claimed(now)
        suspended += any(
            each.selection.admits(queued.record, WaitKind.READY, "") for each in suspensions
        )
    return Matches(
        selection=choice.narrowed(one),
        records=domains.total(),
        messages=len(messages),
        due_soon=due_soon,
        suspended=suspended,
        recipients=recipients,
        others=others,
        domains=dict(domains.most_common()),
        holds=any(order.action == "hold" for order in orders),
    )
