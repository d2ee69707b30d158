"""The objects that the parts of a delivery process share."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from postroad.delivery.body_room import BodyRoom
from postroad.delivery.order_counts import OrderCounts
from postroad.delivery.routing.router import Router
from postroad.delivery.routing.sources import MissingSources
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.settling.settlement import SettlementContext
from postroad.delivery.sites.pool import SessionPool
from postroad.policy.model import RetrySchedule
from postroad.queue.configuration import Configuration
from postroad.smtp_client.endpoint import EndpointRegistry
from postroad.smtp_client.outages import Outages
from postroad.smtp_client.peer import Timeouts
from postroad.spool.interface import RecordConsumer, Spool

# Storing a record of 1,000 recipients costs 6 ms of processor time. That is too much after each
# transaction with a fast host, and negligible once a second.
LONG_ENOUGH = timedelta(seconds=1)


@dataclass(slots=True)
class AttemptContext:
    """What every attempt of a process shares."""

    spool: Spool
    consumer: RecordConsumer
    pool: SessionPool
    hostname: str
    timeouts: Timeouts
    endpoints: EndpointRegistry = field(default_factory=EndpointRegistry)
    ca_file: str | None = None  # authorities to trust in addition to the system's
    outages: Outages = field(default_factory=Outages)
    missing_sources: MissingSources = field(default_factory=MissingSources)
    body_room: BodyRoom = field(default_factory=BodyRoom)
    long_enough: timedelta = LONG_ENOUGH  # after which an attempt ends between two transactions


def _new_dice() -> random.Random:
    return random.Random()  # by attribute, because the simulation replaces it with a seeded one


@dataclass(slots=True)
class WorkerContext:
    """What the worker, its dispatcher and the settler share."""

    spool: Spool
    consumer: RecordConsumer
    configuration: Configuration
    router: Router
    attempts: AttemptContext
    notifier: Notifier
    process: str
    pool: str
    in_hand: int  # the most records that the process has in hand
    order_counts: OrderCounts = field(default_factory=OrderCounts)
    dice: random.Random = field(default_factory=_new_dice)

    def settlement_context(self, schedule: RetrySchedule | None = None) -> SettlementContext:
        """Return the context of a decision about a record now."""
        return SettlementContext(
            schedule=schedule or RetrySchedule(),
            notifier=self.notifier,
            snapshot=self.configuration.current,
            process=self.process,
            now=datetime.now(UTC),
            dice=self.dice,
        )
