"""
The pull requests that are open at the server, by their reply subjects.

The server ends a request with a status, except one all of whose records have come: of that it says
nothing. So a request is forgotten once nothing can come of it any more. No I/O; the clock is an
argument.
"""

from dataclasses import dataclass

from postroad.spool.jetstream.consume.pull.lane_pull import LONGEST, LanePull
from postroad.spool.lanes.assignment import LaneKey


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request for so many records of a lane. `since` is in seconds of the loop's clock."""

    pull: LanePull
    records: int
    since: float


class OpenRequests:
    """All open requests of a process, in the order in which they were made."""

    def __init__(self) -> None:
        self._requests: dict[str, OpenRequest] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reply: str, request: OpenRequest) -> None:
        """Note a new request."""
        self._requests[reply] = request

    def get(self, reply: str) -> OpenRequest | None:
        """Return the request with this reply subject, None if it is over."""
        return self._requests.get(reply)

    def end(self, reply: str) -> None:
        """Note that the server has ended a request."""
        del self._requests[reply]

    def leave(self, key: LaneKey) -> None:
        """Forget the requests of a lane that was left."""
        for reply in [name for name, each in self._requests.items() if each.pull.key == key]:
            del self._requests[reply]

    def forget(self, now: float) -> None:
        """Forget the requests of which nothing can come any more."""
        while self._requests:
            reply, oldest = next(iter(self._requests.items()))
            if now - oldest.since <= LONGEST:
                return
            del self._requests[reply]

    def clear(self) -> None:
        """Forget all: the connection is another one."""
        self._requests.clear()
