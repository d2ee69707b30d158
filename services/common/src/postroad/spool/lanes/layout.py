"""
The cluster's fixed shape: how many shards, how many tail lanes, how many replicas.

Written once, when the queue is made, and read by every process: two processes that counted lanes
differently would deliver one site's mail in two places. Lanes stay for good; shards may grow.
"""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """`shards` streams of mail, `lanes` tail lanes in each, `replicas` copies of everything."""

    shards: int
    lanes: int
    replicas: int

    def encode(self) -> bytes:
        """Return the layout as it is kept."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Layout":
        """Read what `encode` made; raise ValueError for anything else."""
        said = json.loads(data)
        try:
            return cls(int(said["shards"]), int(said["lanes"]), int(said["replicas"]))
        except (KeyError, TypeError) as error:
            raise ValueError("not a layout") from error


SINGLE_MACHINE = Layout(shards=4, lanes=8, replicas=1)
