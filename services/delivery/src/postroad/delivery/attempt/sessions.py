"""
The sessions of a connection: taken from the pool or opened, and given back or ended.

A session is opened in the slot that the connection has at its site, so those that idle there make
room for it. Before that the record's lease is checked: its site's lane may be another process's.
"""

import time
from dataclasses import replace

from postroad.delivery import metrics
from postroad.delivery.attempt.outgoing import Load
from postroad.delivery.attempt.standing import UNREACHABLE
from postroad.delivery.attempt.verdict import LOST
from postroad.delivery.context import AttemptContext
from postroad.delivery.outcome import Outcome, OutcomeKind, deferred, of_reply
from postroad.delivery.sites.pool import Under
from postroad.delivery.sites.site import Site
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.network import HostUnreachable, NetworkError, OwnLack, SourceUnusable
from postroad.smtp_client.opening import is_nobody_there, open_session
from postroad.smtp_client.outages import NetworkPath
from postroad.smtp_client.peer import Peer, SessionError, SessionRefused
from postroad.smtp_client.session import Session


class NotOpenedError(Exception):
    """
    An address gave no session: what that means for the recipients.

    `is_untried`: nothing was sent to it, as there is no way there from here. `lacks_source`: since
    this machine does not have the source address.
    """

    def __init__(
        self, outcome: Outcome, *, is_untried: bool = False, lacks_source: bool = False
    ) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.is_untried = is_untried
        self.lacks_source = lacks_source


class SiteSessions:
    """Sessions at the hosts of a site, of which the caller uses one at a time."""

    def __init__(self, context: AttemptContext, site: Site) -> None:
        self._context = context
        self._site = site

    def take(self, endpoint: Endpoint) -> Session | None:
        """Take a session out of the pool; None when none idles there."""
        return self._context.pool.take(endpoint, time.monotonic())

    async def open(self, peer: Peer, load: Load, tls_failed: str) -> Session:
        """Open a session in our slot. Raises NotOpenedError, LeaseLost, and OwnLack."""
        site = self._site
        if not await load.consumer.confirm(load.leased):  # nor may its site's lane be ours any more
            raise load.lease_lost
        await self._context.pool.make_room(
            {site.key: site.limiter, site.total.claimed_as: site.total.limiter}
        )
        outages, path = self._context.outages, NetworkPath(peer.address, peer.port, peer.source)
        outages.tries(path, time.monotonic())
        try:
            session = await open_session(
                peer, self._context.timeouts, tls_failed=tls_failed, is_hurried=self._is_hurried
            )
        except SessionRefused as error:
            outages.answers(path)
            metrics.NOT_OPENED.inc()
            refusal = of_reply(error.reply, error.phase, host=peer.host, kind=OutcomeKind.DEFERRED)
            raise NotOpenedError(replace(refusal, status=LOST)) from error
        except OwnLack:  # no other address would be tried with more success
            metrics.NOT_OPENED.inc()
            raise
        except (SessionError, NetworkError) as error:
            if is_nobody_there(error) and not isinstance(error, HostUnreachable):
                outages.fails(path, time.monotonic())
            metrics.NOT_OPENED.inc()
            reason = f"{peer.host} ({peer.address}): {error}"
            outcome = deferred(reason, status=UNREACHABLE, host=peer.host)
            raise NotOpenedError(
                outcome,
                is_untried=isinstance(error, HostUnreachable),
                lacks_source=isinstance(error, SourceUnusable),
            ) from error
        outages.answers(path)
        self._context.missing_sources.works(peer.source)
        metrics.OPENED.inc()
        return session

    def _is_hurried(self) -> bool:
        """Whether the site's hosts have shorter timeouts, because others need the places."""
        is_scarce = self._site.shares.is_scarce or self._context.body_room.is_scarce
        return is_scarce and not self._site.moves(time.monotonic())

    def keep(self, session: Session, endpoint: Endpoint, load: Load) -> None:
        """Let a session idle for the next message, or say goodbye on it."""
        enough = session.messages >= load.most_messages(session) or self._site.has_too_many
        # The next owner of a lane that was left does not know of our sessions.
        enough = enough or not load.consumer.serves(load.leased)
        pool = self._context.pool
        if enough or not pool.give(endpoint, session, time.monotonic(), under=self._under):
            session.hang_up()
            self._part_with(session)

    def abort(self, session: Session) -> None:
        """End a session at once."""
        session.abort()
        self._part_with(session)

    def _part_with(self, session: Session) -> None:
        self._context.pool.count_until_gone(session, under=self._under)

    @property
    def _under(self) -> Under:
        return self._site.total.claimed_as, self._site.key
