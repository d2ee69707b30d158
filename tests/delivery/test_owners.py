"""A Relay's settings and failures at a site do not affect the mail of another Relay."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from postroad.dns.resolver import Resolver
from postroad.policy.model import (
    EgressPath,
    Rate,
    RetrySchedule,
    SiteLimits,
    Source,
    TlsMode,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.dns_server import Table, Zone
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send

LATER = RetrySchedule(first=timedelta(hours=1))
# Two domains with the same host, which is one site.
TABLE: Table = {
    "a.test": ["MX 10 mx.big.test."],
    "b.test": ["MX 10 mx.big.test."],
    "mx.big.test": ["A 127.0.0.1"],
}
PathsByDomain = Mapping[str, EgressPath]  # by domain


def by_mx(name: str, **more: object) -> EgressPath:
    plain = {"tls": TlsMode.NONE, "retry": LATER}
    return EgressPath(f"relay:shop/{name}", **(plain | more))  # type: ignore[arg-type]


class OneSite:
    """A relay's delivery, and the one host behind both domains."""

    def __init__(
        self, mx: ScriptedMx, egress_paths: PathsByDomain, queued: Sequence[str] = ()
    ) -> None:
        self.mx = mx
        self.spool = MemorySpool()
        self._queued = queued
        self._egress_paths = egress_paths
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "OneSite":
        await self._stack.enter_async_context(self.mx)
        zone = await self._stack.enter_async_context(Zone(TABLE))
        await publish(self.spool, **self._egress_paths)
        await send(self.spool, *self._queued)
        running = delivering(self.spool, resolver=Resolver(zone.address), port=self.mx.port)
        await self._stack.enter_async_context(running)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def delivered(self, count: int) -> Counter[str]:
        """Wait for so many deliveries; return how many there were of each domain."""
        events = await history(self.spool, EventType.DELIVERY, count)
        return Counter(event.domain for event in events)


async def test_a_relay_s_rate_holds_whoever_else_sends_to_the_same_hosts() -> None:
    rated = by_mx("rated", limits=SiteLimits(message_rate=Rate(2, timedelta(minutes=1))))
    async with OneSite(ScriptedMx(), {"a_test": rated, "b_test": by_mx("free")}) as one:
        for number in range(20):
            await send(one.spool, f"{number}@a.test", f"{number}@b.test")
        assert await one.delivered(22) == {"a.test": 2, "b.test": 20}


async def test_relays_together_use_no_more_connections_than_the_largest_limit() -> None:
    limits = SiteLimits(connections=3)
    egress_paths = {"a_test": by_mx("one", limits=limits), "b_test": by_mx("two", limits=limits)}
    async with OneSite(ScriptedMx(), egress_paths) as one:
        await send(
            one.spool, *(f"{n}@{domain}" for n in range(40) for domain in ("a.test", "b.test"))
        )
        assert await one.delivered(80) == {"a.test": 40, "b.test": 40}
        assert one.mx.most_open == 3


async def test_connections_that_one_relay_left_open_end_before_another_opens_its_own() -> None:
    """Several of its messages begin at once, and each needs the place of one that is open."""
    limits = SiteLimits(connections=3)
    egress_paths = {"a_test": by_mx("one", limits=limits), "b_test": by_mx("two", limits=limits)}
    async with OneSite(ScriptedMx(slowness=0.1), egress_paths) as one:
        await send(one.spool, *(f"{n}@a.test" for n in range(3)))
        await one.delivered(3)
        assert one.mx.open_now == 3, "they are kept for the next message"
        await send(one.spool, *(f"{n}@b.test" for n in range(3)))
        assert await one.delivered(6) == {"a.test": 3, "b.test": 3}
        assert one.mx.most_open == 3, "\n".join(one.mx.history)


async def test_a_relay_with_much_mail_makes_way_for_another_at_the_same_site() -> None:
    limits = SiteLimits(connections=2)
    egress_paths = {"a_test": by_mx("busy", limits=limits), "b_test": by_mx("quiet", limits=limits)}
    queued = [*(f"{n}@a.test" for n in range(200)), "last@b.test"]
    async with OneSite(ScriptedMx(), egress_paths, queued) as one:
        assert (await one.delivered(150))["b.test"] == 1


async def test_relays_take_turns_where_a_site_is_given_few_messages() -> None:
    limits = SiteLimits(message_rate=Rate(1, timedelta(seconds=0.05)))
    egress_paths = {"a_test": by_mx("one", limits=limits), "b_test": by_mx("two", limits=limits)}
    queued = [f"{n}@{domain}" for domain in ("a.test", "b.test") for n in range(10)]
    async with OneSite(ScriptedMx(), egress_paths, queued) as one:
        assert min((await one.delivered(10)).values()) >= 4


async def test_a_relay_that_demands_tls_in_vain_stops_nobody_else() -> None:
    egress_paths = {"a_test": by_mx("strict", tls=TlsMode.VERIFIED), "b_test": by_mx("other")}
    async with OneSite(ScriptedMx(), egress_paths) as one:
        await send(one.spool, "b@a.test")
        [failure] = await history(one.spool, EventType.TRANSIENT_FAILURE)
        assert "does not offer TLS" in failure.reply
        await send(one.spool, "b@b.test")
        assert await one.delivered(1) == {"b.test": 1}


@pytest.mark.parametrize("other", ["::1", "192.0.2.1"], ids=["another family", "not here"])
async def test_a_source_that_cannot_reach_a_site_stops_no_mail_of_another(other: str) -> None:
    """A host has IPv4 alone, and a Relay sources of both families, or one of another machine."""
    sources = (Source("here", "127.0.0.1"), Source("other", other))
    path = by_mx("both", sources=sources, limits=SiteLimits(connections=1))
    async with OneSite(ScriptedMx(), {"a_test": path}) as one:
        for number in range(40):
            await send(one.spool, f"{number}@a.test")
        assert await one.delivered(40) == {"a.test": 40}


async def test_a_relay_that_cannot_send_from_its_address_stops_nobody_else() -> None:
    away = (Source("away", "192.0.2.1"),)
    egress_paths = {"a_test": by_mx("away", sources=away), "b_test": by_mx("other")}
    async with OneSite(ScriptedMx(), egress_paths) as one:
        await send(one.spool, "b@a.test")
        await history(one.spool, EventType.TRANSIENT_FAILURE)
        await send(one.spool, "b@b.test")
        assert await one.delivered(1) == {"b.test": 1}
