"""
Requests to JetStream's own API, over a connection that is opened for each use and closed after it.

The queue's interface does not offer these requests: how full the storage is, and which servers lead
the streams. They are so rare that a new connection for each costs little.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from postroad.operator import metrics
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.options import SpoolOptions


class JetStreamApi:
    """JetStream's own requests, by the name that follows the prefix of the API."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def ask(self, what: str, request: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the answer; SpoolUnavailable if there is none, or it is an error."""
        said = await self._requests.ask_api(what, request or {})
        if "error" in said:
            raise SpoolUnavailable(f"JetStream: {said['error'].get('description')}")
        return said


@asynccontextmanager
async def asking(options: SpoolOptions) -> AsyncIterator[JetStreamApi]:
    """
    Connect for the duration of the block; SpoolUnavailable if no server answers.

    As the connection is new, it shows the certificate that the server has now.
    """
    link = NatsLink(options.access())
    await link.open()
    try:
        end = link.client.certificate_end()
        if end is not None:
            metrics.CERTIFICATE_END.set(end.timestamp())
        requests = Requests(link)
        await requests.start()
        yield JetStreamApi(requests)
    finally:
        await link.close()
