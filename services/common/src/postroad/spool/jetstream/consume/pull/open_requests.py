"""
The pull requests that are open at the server, by their reply subjects.

The server ends a request with a status, except one all of whose records have come. One that the
server lost is forgotten once nothing can come of it any more. A record comes with the subject of
its stream, and does not say of which request it is; a server serves a lane's requests in order. No
I/O; the clock is an argument.
"""

from collections import deque
from dataclasses import dataclass

from postroad.spool.jetstream.consume.pull.lane_pull import LONGEST, LanePull


@dataclass(slots=True)
class OpenRequest:
    """A request for so many records of a lane. `since` is in seconds of the loop's clock."""

    pull: LanePull
    records: int
    since: float
    came: int = 0


class OpenRequests:
    """All open requests of a process, in the order in which they were made."""

    def __init__(self) -> None:
        self._requests: dict[str, OpenRequest] = {}
        self._replies: dict[LanePull, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reply: str, request: OpenRequest) -> None:
        """Note a new request."""
        self._requests[reply] = request
        self._replies.setdefault(request.pull, deque()).append(reply)

    def get(self, reply: str) -> OpenRequest | None:
        """Return the request with this reply subject, None if it is over."""
        return self._requests.get(reply)

    def arrived(self, pull: LanePull) -> None:
        """Note that a record has come of a lane's oldest request; the last one ends it."""
        replies = self._replies.get(pull)
        if replies:
            request = self._requests[replies[0]]
            request.came += 1
            if request.came >= request.records:
                self.end(replies[0])

    def end(self, reply: str) -> None:
        """Note that a request has ended."""
        pull = self._requests.pop(reply).pull
        replies = self._replies[pull]
        replies.remove(reply)  # nearly always the first
        if not replies:
            del self._replies[pull]

    def forget(self, now: float) -> None:
        """Forget the requests of which nothing can come any more."""
        while self._requests:
            reply, oldest = next(iter(self._requests.items()))
            if now - oldest.since <= LONGEST:
                return
            self.end(reply)

    def clear(self) -> None:
        """Forget all: the connection is another one."""
        self._requests.clear()
        self._replies.clear()
