"""
The endpoints that one attempt may go to: its route's addresses, as its egress path talks to them.
"""

import time

from postroad.delivery.attempt.candidates import Target
from postroad.delivery.context import AttemptContext
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.outages import NetworkPath
from postroad.smtp_client.peer import Peer


class AttemptEndpoints:
    """The endpoints for the egress path and the source of a record."""

    def __init__(self, context: AttemptContext, waiting: WaitingRecord) -> None:
        self._context = context
        self._egress_path = waiting.egress_path
        self._source = waiting.source

    def of(self, target: Target) -> Endpoint:
        """Return the endpoint at an address."""
        return self._context.endpoints.of(self._egress_path.name, self._peer(target))

    def is_dead(self, target: Target) -> bool:
        """Whether nobody answered at an address a short while ago."""
        source = self._source.address if self._source else None
        path = NetworkPath(target[1], target[0].port, source)
        return self._context.outages.has(path, time.monotonic())

    def _peer(self, target: Target) -> Peer:
        host, address = target
        source = self._source
        return Peer(
            host=host.name,
            address=address,
            port=host.port,
            ehlo=(source.ehlo if source else None) or self._context.hostname,
            tls=self._egress_path.tls,
            implicit_tls=self._egress_path.implicit_tls,
            credentials=self._egress_path.credentials,
            unverified_login=self._egress_path.unverified_login,
            ca_file=self._context.ca_file,
            source=source.address if source else None,
        )
