"""Counts the mail that an order would change, before the order is given."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from postroad.cli.queue.actions import OrderAction
from postroad.cli.queue.selection import Choice
from postroad.spool.agreement import ENDING
from postroad.spool.interface import Queued, Spool
from postroad.spool.selection import Selection, WaitKind


@dataclass(frozen=True, slots=True)
class Matches:
    """
    How much mail matches an order.

    `due_soon` are records that come due before the order could reach them. `suspended` are records
    for a suspended destination. `recipients` wait and match; `others` wait in the same records and
    do not match --to. `holds` is true while a hold is in force that may not be carried out yet, if
    it is known whose mail is meant.
    `unreadable` are malformed records, by domain, where nothing else matches.
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
    unreadable: Mapping[str, int] = field(default_factory=dict)

    def told(self, action: OrderAction) -> str:
        """Return how much an order changes; in recipients if it leaves others of a message."""
        if self.unreadable:
            return f"{number_of(sum(self.unreadable.values()), 'record')} that cannot be read"
        messages = number_of(self.messages, "message")
        if self.others and action.name in ENDING:
            return f"{number_of(self.recipients, 'recipient')} of {messages}"
        if self.records == self.messages:
            return messages
        return f"{messages} ({self.records} records, one for each domain)"

    def numbers(self) -> Mapping[str, int]:
        """Return the counts as they are in JSON."""
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
    """Count the mail that matches; CommandError if a Client's name matches several Clients."""
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
    holds = any(order.action == "hold" for order in orders)
    if holds and not one and choice.client_name is not None:
        one = await _any(spool, choice)  # else all mail would be meant
        holds = bool(one)
    return Matches(
        selection=choice.narrowed(one),
        records=domains.total(),
        messages=len(messages),
        due_soon=due_soon,
        suspended=suspended,
        recipients=recipients,
        others=others,
        domains=dict(domains.most_common()),
        holds=holds,
    )


async def _any(spool: Spool, choice: Choice) -> list[Queued]:
    """Return mail that matches in any state, if there is some; it shows its Client's namespace."""
    everywhere = replace(choice.selection, kinds=frozenset(WaitKind))
    found: list[Queued] = []
    async for queued in replace(choice, selection=everywhere).of(spool):
        found = found or [queued]  # to the end: `of` refuses a name that several Clients have
    return found


async def count_unreadable(spool: Spool, choice: Choice) -> Mapping[str, int]:
    """
    Count malformed records by domain, where a listing shows nothing that matches.

    A subject names the domain of its record, and nothing else that an order may select.
    """
    selection = choice.selection
    if choice.client_name is not None or selection != Selection(
        domain=selection.domain, arrived_before=selection.arrived_before
    ):
        return {}
    found: Counter[str] = Counter()
    for (_, _, domain), tally in (await spool.waiting.counts()).items():
        if selection.domain in (None, domain):
            found[domain] += tally.number
    return dict(found.most_common())
