"""Attempts to deliver records from a queue in memory to a test's hosts, without a worker."""

from datetime import timedelta

from postroad.delivery.attempt.attempt import Attempt, AttemptResult
from postroad.delivery.attempt.connection import SiteConnection
from postroad.delivery.context import LONG_ENOUGH, AttemptContext
from postroad.delivery.routing.routes import MailHost, Route
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pool import SessionPool
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.address import parse_mailbox
from postroad.policy.model import Credentials, EgressPath, SiteLimits, TlsMode
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.peer import Timeouts
from postroad.spool.memory.consumer import MemoryConsumer
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.queue.queued_mail import first, put

TO = ("b@y.example", "c@y.example")
SHORT = timedelta(seconds=0.2)


class Nobody:
    """No other record waits for this connection."""

    def succeed(self, _: Site, __: SiteConnection[Attempt], ___: Endpoint) -> None:
        """Return nothing."""


class Bench:
    """
    The context of attempts, and a queue in memory.

    `is_partial`: the domain has other hosts, which are not known for now.
    """

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        tls: TlsMode = TlsMode.NONE,
        login: Credentials | None = None,
        ca_file: str | None = None,
        long_enough: timedelta = LONG_ENOUGH,
        is_partial: bool = False,
        **limits: int,
    ) -> None:
        self._is_partial = is_partial
        self.spool = MemorySpool()
        self.consumer: MemoryConsumer = self.spool.take(
            pool="default", room=10, room_bytes=1_000_000
        )
        self.pool = SessionPool()
        timeouts = timeouts or Timeouts(connect=SHORT, greeting=SHORT, final_dot=SHORT)
        self.context = AttemptContext(
            self.spool,
            self.consumer,
            self.pool,
            "relay.test",
            timeouts,
            ca_file=ca_file,
            long_enough=long_enough,
        )
        site_limits = SiteLimits(**limits)  # type: ignore[arg-type]
        self.egress_path = EgressPath("relay:a/b", tls=tls, credentials=login, limits=site_limits)
        self.site = Site(
            self.egress_path.name,
            SiteLimiter(self.egress_path.limits),
            Shares(100),
            SiteTotal("site"),
        )
        self.site.limiter.connections = 1  # the connection of the attempt

    async def attempt(self, *hosts: ScriptedMx | int, **record: object) -> AttemptResult:
        """Attempt a record at hosts named `mx0`, `mx1` and so on, each with one address."""
        ports = [host if isinstance(host, int) else host.port for host in hosts]
        named = [MailHost(f"mx{n}", port, ("127.0.0.1",)) for n, port in enumerate(ports)]
        return await self.attempt_at(*named, **record)

    async def attempt_at(self, *hosts: MailHost, **record: object) -> AttemptResult:
        """Attempt a record at hosts."""
        recipients = tuple(QueuedRecipient(parse_mailbox(address)) for address in TO)
        await put(self.spool, **({"recipients": recipients} | record))  # type: ignore[arg-type]
        [leased] = await first(self.consumer, 1)
        waiting = WaitingRecord(leased, self.egress_path)
        route = Route("site", hosts, self._is_partial)
        connection = SiteConnection[Attempt](self.context, self.site, Nobody())
        attempt = Attempt(self.context, waiting, route, connection)
        ended = await attempt.run()
        await self.consumer.settle(leased)
        return ended


def summary(ended: AttemptResult) -> list[tuple[str, str, str]]:
    """Return each recipient's outcome: its kind, its status, and the host."""
    found = [ended.outcomes[number] for number in sorted(ended.outcomes)]
    return [(outcome.kind.value, str(outcome.status), outcome.host) for outcome in found]
