"""
The layout of the queue: the numbers of shards, lanes and replicas.

It is written once, when the queue is created, and read by every process: if two processes had
different numbers of lanes, both would deliver mail to one site. The number of lanes never changes;
the number of shards may grow.
"""

import json
from dataclasses import asdict, dataclass

# Of replicated servers. There each consumer is a Raft group, and costs each server 0.03 % of a core
# while it is idle.
MOST_CONSUMERS = 1000
# Consumers in each shard: of new transactional mail, new bulk mail, and what has waited.
_OF_A_LANE = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """`shards` streams of mail, `lanes` lanes in each, `replicas` copies of everything."""

    shards: int
    lanes: int
    replicas: int

    def consumers(self, pools: int) -> int:
        """Return how many consumers the lanes of so many pools have."""
        return _OF_A_LANE * self.shards * self.lanes * pools

    def encode(self) -> bytes:
        """Encode the layout as it is stored."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Layout":
        """Decode a layout; raise ValueError for anything else."""
        said = json.loads(data)
        try:
            return cls(int(said["shards"]), int(said["lanes"]), int(said["replicas"]))
        except (KeyError, TypeError) as error:
            raise ValueError("not a layout") from error


SINGLE_MACHINE = Layout(shards=4, lanes=8, replicas=1)
