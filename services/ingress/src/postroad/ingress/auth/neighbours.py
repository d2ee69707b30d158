"""
Which usernames have logged in from a network, as the whole cluster knows it.

The cluster is asked only if a network is shut out and this process has not seen the username log in
from it. Guessers cause such questions, too. So only a few are asked at a time, and each has a time
limit. A login whose question is not answered in time is refused.
"""

import asyncio

from postroad.spool.agreement import PastLogins
from postroad.spool.errors import SpoolError
from postroad.telemetry.log_limit import LineLimit
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_AT_ONCE = 16
_PATIENCE = 1.0  # seconds
_TOLD = "past logins are looked up in this process alone"


class Neighbours:
    """The successful logins of all processes, by pair of network and name."""

    def __init__(self, past_logins: PastLogins, lines: LineLimit) -> None:
        self._past_logins = past_logins
        self._lines = lines
        self._asking = asyncio.Semaphore(_AT_ONCE)

    def note(self, pair: str) -> None:
        """Tell the cluster of a login, in the background; cheap if it was told recently."""
        self._past_logins.note(pair)

    async def has(self, pair: str) -> bool:
        """Whether a name has logged in from a network; False, too, if the cluster cannot tell."""
        try:
            async with asyncio.timeout(_PATIENCE), self._asking:
                return await self._past_logins.noted(pair)
        except (SpoolError, TimeoutError) as error:
            left_out = self._lines.admit(_TOLD, "")
            if left_out is not None:
                log.warning(_TOLD, error=str(error) or type(error).__name__, left_out=left_out)
            return False
