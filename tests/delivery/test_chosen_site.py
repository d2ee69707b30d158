"""The site that was chosen for a record is heeded by its owner, whatever the DNS tells it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from postroad.delivery.routing import lookups, router
from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.chosen import MOST_CHOICES, choose, route_by
from postroad.delivery.routing.routes import MailHost, Route
from postroad.dns.resolver import Resolver
from postroad.policy.model import EgressPath, RetrySchedule, SiteLimits, TlsMode
from postroad.policy.walls import DeniedNetworks
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import ChosenSite
from postroad.spool.wire.chosen_site import chosen_in, chosen_out
from postroad.testing.peers.dns_server import InTurn, Zone
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad.testing.queue.queued_mail import now

SITE, OTHER = "mx0.test", "mx1.test"  # in two lanes
ROUTE = Route(OTHER, (MailHost(OTHER, 25, ("192.0.2.1", "192.0.2.2")),))
SECOND = timedelta(seconds=1)
PATH = EgressPath(
    "relay:shop/all",
    tls=TlsMode.NONE,
    retry=RetrySchedule(first=timedelta(hours=1)),
    limits=SiteLimits(connections=2),
)


def heeded(chosen: ChosenSite, after: timedelta, site: str = OTHER, **rules: object) -> bool:
    """Whether a choice is heeded so long after it was made."""
    admitted = AddressRules(**({"allow_private": True} | rules))  # type: ignore[arg-type]
    return route_by(chosen, site, port=25, rules=admitted, now=chosen.at + after) == ROUTE


def test_each_choice_is_heeded_for_longer_than_the_one_before() -> None:
    first = choose(ROUTE, None, now())
    second = choose(ROUTE, first, now())
    for chosen, seconds in ((first, 30), (second, 120), (choose(ROUTE, second, now()), 480)):
        assert heeded(chosen, timedelta(seconds=seconds - 1))
        assert not heeded(chosen, timedelta(seconds=seconds))


def test_a_clock_that_is_behind_does_not_make_a_choice_last() -> None:
    chosen = choose(ROUTE, None, now())
    assert heeded(chosen, -29 * SECOND)
    assert not heeded(chosen, -31 * SECOND)


def test_a_choice_tells_that_other_hosts_may_be_found_later() -> None:
    """Else what one host lacks would be the last word, though another was only not found."""
    for is_partial in (False, True):
        chosen = choose(replace(ROUTE, is_partial=is_partial), None, now())
        rules = AddressRules(allow_private=True)
        route = route_by(chosen_in(chosen_out(chosen)), OTHER, port=25, rules=rules, now=now())
        assert route is not None
        assert route.is_partial is is_partial


def test_what_was_chosen_for_another_site_is_not_heeded() -> None:
    """An older release moves a record, and does not know that a site was chosen for it."""
    assert not heeded(choose(ROUTE, None, now()), SECOND, site=SITE)


def test_no_mail_goes_to_a_chosen_address_that_is_denied_by_now() -> None:
    chosen, rules = choose(ROUTE, None, now()), AddressRules(allow_private=False)
    assert route_by(chosen, OTHER, port=25, rules=rules, now=chosen.at) is None
    walls = DeniedNetworks((ip_network("192.0.2.1/32"),))
    rules = AddressRules(allow_private=True, walls=walls)
    left = route_by(chosen, OTHER, port=25, rules=rules, now=chosen.at)
    assert left is not None
    assert left.hosts[0].addresses == ("192.0.2.2",)


class OneProcess:
    """A process that owns all lanes, and two hosts, each of which is a site."""

    def __init__(self, spool: MemorySpool, hosts: Sequence[ScriptedMx]) -> None:
        self.spool, self.hosts = spool, hosts

    async def delivered(self, count: int) -> Sequence[int]:
        """Wait for so many deliveries; return how many messages each host got."""
        await history(self.spool, EventType.DELIVERY, count)
        return [len(host.messages) for host in self.hosts]

    @property
    def moves(self) -> int:
        """How often a record was moved."""
        events = self.spool.cluster.agreement.events
        return sum(event.type is EventType.MOVED for event in events)


@asynccontextmanager
async def one_process(answers: InTurn | Sequence[str]) -> AsyncIterator[OneProcess]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(ScriptedMx(slowness=0.02))
        other = ScriptedMx(address="127.0.0.2", at_port=one.port, slowness=0.02)
        await stack.enter_async_context(other)
        table = {"a.test": answers, SITE: [f"A {one.address}"], OTHER: [f"A {other.address}"]}
        zone = await stack.enter_async_context(Zone(table))
        spool = MemorySpool()
        await publish(spool, anywhere=PATH)
        running = delivering(spool, resolver=Resolver(zone.address), port=one.port)
        await stack.enter_async_context(running)
        yield OneProcess(spool, [one, other])


def chosen(number: int = 1, age: timedelta = SECOND) -> ChosenSite:
    """Return the choice of the other host."""
    return ChosenSite(OTHER, ((OTHER, ("127.0.0.2",)),), now() - age, number)


async def test_an_owner_sends_to_the_site_that_another_process_found() -> None:
    async with one_process([f"MX 10 {SITE}."]) as process:
        await send(process.spool, "1@a.test", site=OTHER, chosen_site=chosen())
        assert await process.delivered(1) == [0, 1]
        assert process.moves == 0


async def test_an_old_choice_gives_way_to_what_the_dns_says() -> None:
    async with one_process([f"MX 10 {SITE}."]) as process:
        await send(
            process.spool, "1@a.test", site=OTHER, chosen_site=chosen(age=timedelta(minutes=1))
        )
        assert await process.delivered(1) == [1, 0]
        assert process.moves == 1


async def test_what_was_moved_too_often_waits_and_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would go round at full speed where no process heeds what another one chose."""
    monkeypatch.setattr(lookups, "_SOON", 1.0)  # seconds for which it waits
    async with one_process([f"MX 10 {SITE}."]) as process:
        never_heeded = chosen(MOST_CHOICES, timedelta(days=365))
        sent = now()
        await send(process.spool, "1@a.test", site=OTHER, chosen_site=never_heeded)
        assert await process.delivered(1) == [1, 0]
        [move] = await history(process.spool, EventType.MOVED)
        assert move.at - sent > 0.9 * SECOND, "it did not wait before it was moved"
        assert process.moves == 1


async def test_mail_whose_look_up_fails_unexpectedly_is_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stayed in the process's hands, untried, until the process ended."""
    monkeypatch.setattr(lookups, "_SOON", 0.2)  # seconds for which it waits
    async with one_process([f"MX 10 {SITE}."]) as process:
        learn = process.spool.sites.learn
        failures = iter([RuntimeError("the handler is closed")])

        async def fails_once(domain: str, site: str) -> None:
            for failure in failures:
                raise failure
            await learn(domain, site)

        monkeypatch.setattr(process.spool.sites, "learn", fails_once)
        await send(process.spool, "1@a.test")
        assert await process.delivered(1) == [1, 0]


async def test_sites_of_one_lane_keep_their_limits_while_answers_alternate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their mail is in one process, and is not moved."""
    monkeypatch.setattr(router, "_KEPT", 0.05)
    async with one_process(InTurn([f"0 MX 10 {SITE}."], [f"0 MX 10 {OTHER}."])) as process:
        process.spool.store.lanes = 1
        await send(process.spool, *(f"{number}@a.test" for number in range(100)), site=SITE)
        assert min(await process.delivered(100)) > 0
        assert [host.most_open for host in process.hosts] == [2, 2]
        assert process.moves == 0
