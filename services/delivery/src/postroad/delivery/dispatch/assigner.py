"""What the dispatcher asks of the assignment, which is above it: sites for records without one."""

from typing import Protocol

from postroad.delivery.routing.routes import Route
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import EgressPath
from postroad.spool.interface import LeasedRecord


class Assigner(Protocol):
    """Where records go that were removed from a waiting room and are not attempted."""

    def begin_again(self, leased: LeasedRecord) -> None:
        """Assign a record to its site again."""

    def turn(self, waiting: WaitingRecord, route: Route) -> None:
        """Assign a record to the site of a route."""

    def ask_later(self, leased: LeasedRecord, egress_path: EgressPath, reason: str) -> None:
        """Put off a record whose destination cannot be looked up now."""

    def wait_for_room(self, waiting: WaitingRecord, site: str) -> None:
        """Put off a record for whose body there is no room in memory now."""
