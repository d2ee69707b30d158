"""
An ingress process that stores values without end fills streams that others can do without.

Sessions and lane owners are in the servers' memory. When that was full, no delivery process could
renew its session: all of them considered themselves dead, and no mail was delivered.
"""

from dataclasses import replace

import pytest

from postroad.spool.jetstream.cluster.sessions.takers import encode
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.queued_mail import QUICK, first, put, take
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

VALUE = "x" * 500_000
MANY = 200  # a hundred megabytes, more than the servers' memory takes


async def joined(servers: Servers, role: str) -> JetStreamSpool:
    return await connect(as_role(role, servers.servers[0].url, timings=QUICK))


async def flood(servers: Servers, keys: str = "presence.session.ingress") -> int:
    """Store values until they are refused; return how many octets that were."""
    for number in range(MANY):
        said = await servers.ask("ingress", f"$KV.{keys}.{number}", VALUE)
        if "error" in said:
            return number * len(VALUE)
    return MANY * len(VALUE)


async def test_delivery_goes_on_while_ingress_stores_sessions_without_end(
    servers: Servers,
) -> None:
    ingress, delivery = await joined(servers, "ingress"), await joined(servers, "delivery")
    await put(ingress)
    assert await flood(servers) < 3_000_000
    later = await joined(servers, "delivery")
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    await consumer.settle(leased)
    await consumer.close()
    sessions = {each.session_id for each in await later.sessions.live()}
    assert sessions >= {each.sessions.session_id for each in (ingress, delivery, later)}
    for each in (ingress, delivery, later):
        await each.close()


async def test_every_process_sees_those_of_each_role(servers: Servers) -> None:
    spools = [await joined(servers, role) for role in ("operator", "ingress", "delivery")]
    for spool in spools:
        assert {each.role for each in await spool.sessions.live()} >= {"ingress", "delivery"}
    for spool in spools:
        await spool.close()


async def test_a_false_session_hides_none_of_another_role(servers: Servers) -> None:
    """Ingress reads its own stream first, where the id of a delivery process may stand."""
    ingress, delivery = await joined(servers, "ingress"), await joined(servers, "delivery")
    known = delivery.sessions.session_id
    [real] = [each for each in await ingress.sessions.live() if each.role == "ingress"]
    false = encode(replace(real, session_id=known)).decode()
    await servers.ask("ingress", f"$KV.presence.session.ingress.{known}", false)
    found = [each.role for each in await ingress.sessions.live() if each.session_id == known]
    assert sorted(found) == ["delivery", "ingress"]
    for each in (ingress, delivery):
        await each.close()


async def test_what_ingress_stores_as_counts_takes_no_room_from_mail(servers: Servers) -> None:
    """It filled the storage for good: such values have no end, and no command removes them."""
    assert await flood(servers, "quotas") < 70_000_000
    ingress = await joined(servers, "ingress")
    await put(ingress)
    await ingress.close()
