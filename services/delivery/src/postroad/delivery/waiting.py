"""A record that waits for its turn at a site."""

from dataclasses import dataclass

from postroad.policy.model import Snapshot, Source, WayOut
from postroad.spool.interface import Taken


@dataclass(slots=True)
class Waiting:
    """
    A record in a site's waiting room, its way out by `snapshot`, and from where it will be sent.

    That is drawn once: drawn again where it does not suit, the shares were not the weights.
    """

    taken: Taken
    way_out: WayOut
    snapshot: Snapshot | None = None
    source: Source | None = None
    begun: float = 0.0  # when, by the limiters
    refusals: int = 0  # connections that its site refused while others worked
