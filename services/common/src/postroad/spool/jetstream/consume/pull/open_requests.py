"""
The pull requests that are open at the server, by their reply subjects.

The server ends a request with a status, except one all of whose records have come, or one that it
lost; these are forgotten once nothing can come of them any more. A record comes with the subject of
its stream, and does not say of which request it is. A server serves a lane's requests in order, so
what came of each is known well enough to ask for as much again. It is not known well enough to end
a process earlier: records of a lane that was left and taken again may come of requests of before.
No I/O; the clock is an argument.
"""

from collections import deque
from dataclasses import dataclass

from postroad.spool.jetstream.consume.pull.lane_pull import LONGEST, LanePull


@dataclass(slots=True, eq=False)
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
        self._unserved: dict[LanePull, deque[OpenRequest]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, reply: str, request: OpenRequest) -> None:
        """Note a new request."""
        self._requests[reply] = request
        self._unserved.setdefault(request.pull, deque()).append(request)

    def get(self, reply: str) -> OpenRequest | None:
        """Return the request with this reply subject, None if it is over."""
        return self._requests.get(reply)

    def arrived(self, pull: LanePull) -> None:
        """Note that a record has come, of a lane's oldest request that expects any."""
        unserved = self._unserved.get(pull)
        if unserved:
            request = unserved[0]
            request.came += 1
            if request.came >= request.records:
                self._expect_no_more(request)

    def end(self, reply: str) -> None:
        """Note that a request has ended."""
        self._expect_no_more(self._requests.pop(reply))

    def _expect_no_more(self, request: OpenRequest) -> None:
        unserved = self._unserved.get(request.pull)
        if unserved and request in unserved:  # nearly always the first
            unserved.remove(request)
            if not unserved:
                del self._unserved[request.pull]

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
        self._unserved.clear()
