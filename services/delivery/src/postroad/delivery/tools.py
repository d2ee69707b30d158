"""What delivery in one process is made of."""

from dataclasses import dataclass, field

from postroad.delivery.attempt import AttemptTools
from postroad.delivery.bounce import Notifier
from postroad.delivery.directions import Directions
from postroad.delivery.order_counts import OrderCounts
from postroad.runtime.configuration import Configuration
from postroad.spool.interface import Spool, Taking


@dataclass(slots=True)
class WorkerTools:
    """What the worker, its crew and their endings share."""

    spool: Spool
    taking: Taking
    configuration: Configuration
    directions: Directions
    attempts: AttemptTools
    notifier: Notifier
    process: str
    pool: str
    in_hand: int  # records that the process has in its hands at most
    order_counts: OrderCounts = field(default_factory=OrderCounts)
