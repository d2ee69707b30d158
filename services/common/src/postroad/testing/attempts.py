"""Attempts at records in a queue in memory, over whatever hosts a test has, without a worker."""

from datetime import timedelta

from postroad.delivery.attempt.attempt import Attempt, Ended
from postroad.delivery.client.peer import Timeouts
from postroad.delivery.client.place import Place
from postroad.delivery.routing.routes import Host, Route
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pool import SessionPool
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import Waiting
from postroad.delivery.tools import LONG_ENOUGH, AttemptTools
from postroad.mail.address import parse_mailbox
from postroad.policy.model import Credentials, SiteLimits, TlsMode, WayOut
from postroad.spool.memory.consumer import MemoryTaking
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient
from postroad.testing.mx import ScriptedMx
from postroad.testing.queued_mail import first, put

TO = ("b@y.example", "c@y.example")
SHORT = timedelta(seconds=0.2)


def nobody(_: Place) -> None:
    """Nothing else waits for this place."""


class Bench:
    """A process's tools, a queue in memory, and attempts at what is put into it."""

    def __init__(
        self,
        *,
        timeouts: Timeouts | None = None,
        tls: TlsMode = TlsMode.NONE,
        login: Credentials | None = None,
        ca_file: str | None = None,
        long_enough: timedelta = LONG_ENOUGH,
        **limits: int,
    ) -> None:
        self.spool = MemorySpool()
        self.taking: MemoryTaking = self.spool.take(pool="default", room=10, room_bytes=1_000_000)
        self.pool = SessionPool()
        timeouts = timeouts or Timeouts(connect=SHORT, greeting=SHORT, final_dot=SHORT)
        self.tools = AttemptTools(
            self.spool,
            self.taking,
            self.pool,
            "relay.test",
            timeouts,
            ca_file=ca_file,
            long_enough=long_enough,
        )
        site_limits = SiteLimits(**limits)  # type: ignore[arg-type]
        self.way_out = WayOut("relay:a/b", tls=tls, credentials=login, limits=site_limits)
        self.site = Site(
            self.way_out.name, SiteLimiter(self.way_out.limits), Shares(100), SiteTotal("site")
        )
        self.site.limiter.connections = 1  # the slot this attempt holds

    async def attempt(self, *hosts: ScriptedMx | int, **record: object) -> Ended:
        """Attempt a record at hosts named `mx0`, `mx1` and so on, each at one address."""
        ports = [host if isinstance(host, int) else host.port for host in hosts]
        named = [Host(f"mx{n}", port, ("127.0.0.1",)) for n, port in enumerate(ports)]
        return await self.attempt_at(*named, **record)

    async def attempt_at(self, *hosts: Host, **record: object) -> Ended:
        """Attempt a record at hosts."""
        recipients = tuple(QueuedRecipient(parse_mailbox(address)) for address in TO)
        await put(self.spool, **({"recipients": recipients} | record))  # type: ignore[arg-type]
        [taken] = await first(self.taking, 1)
        waiting = Waiting(taken, self.way_out)
        route = Route("site", hosts)
        ended = await Attempt(self.tools, waiting, route, self.site, nobody).run()
        await self.taking.settle(taken)
        return ended


def summary(ended: Ended) -> list[tuple[str, str, str]]:
    """Return each recipient's outcome: how it ended, the status, which host said so."""
    found = [ended.outcomes[number] for number in sorted(ended.outcomes)]
    return [(outcome.kind.value, str(outcome.status), outcome.host) for outcome in found]
