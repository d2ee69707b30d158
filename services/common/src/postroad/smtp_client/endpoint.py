"""
The endpoints a process sends to, and what it has learned of each: one object for what is the same.

Sessions are kept by endpoint. What a host made of an envelope that came ahead is remembered there.
"""

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache

from postroad.smtp_client.peer import Peer
from postroad.smtp_client.recipient_limit import RecipientLimit

_PLAIN = 6 * 3600.0  # seconds: each trial costs a session, and seconds, where it fails
_MANY = 20_000


@dataclass(slots=True, eq=False)
class Endpoint:
    """
    A server to talk to, with all that matters to a session. `EndpointRegistry` gives one for all
    that is the same, so a session opened before a Relay was edited is not used after.

    `plain_until`: until then no envelope goes out with the dot of the message before. `pause`: how
    many seconds it took to answer the last final dot; what goes ahead waits for that.
    `one_by_one_until`: until then commands are not pipelined.
    """

    peer: Peer
    plain_until: float = 0.0
    one_by_one_until: float = 0.0
    pause: float = math.inf
    recipients: RecipientLimit = field(default_factory=RecipientLimit)

    def speak_plainly(self) -> None:
        """An envelope that went ahead was lost, or not understood: leave that for a while."""
        self.plain_until = time.monotonic() + _PLAIN

    def speak_one_by_one(self) -> None:
        """Its answers did not fit what was said: leave pipelining for a while."""
        self.one_by_one_until = time.monotonic() + _PLAIN


class EndpointRegistry:
    """
    The endpoints a process sends to.

    What mail has not gone to for the longest is forgotten first, when there are too many.
    """

    def __init__(self) -> None:
        self._endpoint = lru_cache(maxsize=_MANY)(_new_endpoint)

    def of(self, egress_path: str, peer: Peer) -> Endpoint:
        """Return the endpoint of an egress path's name and a peer."""
        return self._endpoint(egress_path, peer)


def _new_endpoint(_: str, peer: Peer) -> Endpoint:
    return Endpoint(peer)
