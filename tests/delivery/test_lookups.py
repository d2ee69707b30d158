"""Mail that waits for the DNS has its own queue in memory, and other mail passes it."""

import asyncio
from datetime import timedelta

import pytest

from postroad.delivery.routing.lookups import Lookups
from postroad.dns import resolver as resolver_module
from postroad.dns.answers import DnsFailure as Answer
from postroad.dns.answers import MxAnswer
from postroad.dns.questions.lines import Asker
from postroad.dns.resolver import Resolver
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, RetrySchedule, Smarthost, TlsMode
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Origin
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Zone, ZoneFault
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send

TRANSACTIONAL, BULK = TrafficClass.TRANSACTIONAL, TrafficClass.BULK
LATER = RetrySchedule(first=timedelta(hours=1))


@pytest.mark.parametrize(("octets", "asked"), [(1_000, 19), (100_000, 4)])
async def test_mail_that_needs_no_dns_goes_on_while_the_dns_says_nothing(
    monkeypatch: pytest.MonkeyPatch, octets: int, asked: int
) -> None:
    """Each large mail has five of a hundred places, and a sender three quarters of a quarter."""
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    spool = MemorySpool()
    names = {f"d{n}.test": ZoneFault.SILENCE for n in range(400)}
    async with ScriptedMx() as mx, Zone(names) as zone:
        hosts = (Smarthost("127.0.0.1", mx.port),)
        await publish(
            spool,
            anywhere=EgressPath("relay:shop/mx", retry=LATER),
            near_test=EgressPath("relay:shop/near", hosts, tls=TlsMode.NONE),
        )
        content = b"Subject: x\r\n\r\n".ljust(octets, b"x")
        await send(spool, *(f"a@{name}" for name in names), content=content)
        resolver = Resolver(zone.address)
        async with delivering(spool, resolver=resolver, room=100, room_bytes=2_000_000, finish=0.1):
            await zone.was_asked(asked)
            await send(spool, *(f"{n}@near.test" for n in range(20)))
            async with asyncio.timeout(patient(8)):
                await mx.received(20)
        queued = [each.record async for each in spool.waiting.list(Selection())]
        assert len(queued) == 400
        assert sum(record.attempts for record in queued) == 0, "what was not asked was not tried"


async def test_names_never_asked_for_go_out_soon_beside_hundreds_of_silent_ones() -> None:
    """It takes nine seconds: 225 names have three each, 75 of one sender at a time."""
    spool = MemorySpool()
    silent = {f"v{n}.silent.test": ZoneFault.SILENCE for n in range(225)}
    new = {f"new{n}.test": ["A 127.0.0.1"] for n in range(4)}
    async with ScriptedMx() as mx, Zone({**silent, **new}) as zone:
        await publish(spool, anywhere=EgressPath("relay:shop/mx", retry=LATER, tls=TlsMode.NONE))
        await send(spool, *(f"a@{name}" for name in silent))
        resolver = Resolver(zone.address)
        async with delivering(spool, resolver=resolver, port=mx.port, room=1500, finish=0.1):
            async with asyncio.timeout(patient(20)):
                await history(spool, EventType.TRANSIENT_FAILURE)
            await send(spool, *(f"b@{name}" for name in new))
            async with asyncio.timeout(patient(10)):
                await mx.received(4)


class Forgetful(Resolver):
    """A DNS whose silent names are asked for a second time in vain, and for ever."""

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__(server)
        self.vain: set[str] = set()
        self.waiting = self.came_again = 0

    async def mx(self, domain: str, asker: Asker | None = None) -> MxAnswer:
        if not domain.startswith("silent"):
            return await super().mx(domain, asker)
        if domain in self.vain:
            self.waiting += 1
            await asyncio.Event().wait()
        self.vain.add(domain)
        return MxAnswer((), Answer.TEMPORARY, "the DNS does not answer")

    def is_slow(self, domain: str) -> bool:
        self.came_again += domain in self.vain
        return domain in self.vain or super().is_slow(domain)


async def test_names_that_are_asked_for_again_and_again_leave_places_to_new_ones() -> None:
    """A Relay that retries after seconds would have them all for domains whose servers are gone."""
    spool = MemorySpool()
    again = RetrySchedule(first=timedelta(seconds=1))
    async with ScriptedMx() as mx, Zone({"new.test": ["A 127.0.0.1"]}) as zone:
        resolver = Forgetful(zone.address)
        await publish(spool, anywhere=EgressPath("relay:shop/mx", retry=again, tls=TlsMode.NONE))
        await send(spool, *(f"a@silent{n}.test" for n in range(60)))
        async with delivering(spool, resolver=resolver, port=mx.port, room=100, finish=0.1):
            async with asyncio.timeout(patient(20)):
                while resolver.came_again < 40:
                    await asyncio.sleep(0.01)
            assert resolver.waiting == 6, "a sender's part of a third of a quarter of all places"
            await send(spool, "b@new.test")
            async with asyncio.timeout(patient(8)):
                await mx.received(1)


class Slow(Resolver):
    """A DNS that has not answered yet for a newsletter's domains."""

    def __init__(self, server: tuple[str, int]) -> None:
        super().__init__(server)
        self.is_asked = asyncio.Event()

    async def mx(self, domain: str, asker: Asker | None = None) -> MxAnswer:
        if not domain.startswith("news"):
            return await super().mx(domain, asker)
        self.is_asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_newsletter_to_many_new_domains_does_not_keep_out_transactional() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx, Zone({"new.test": ["A 127.0.0.1"]}) as zone:
        await publish(spool, anywhere=EgressPath("relay:shop/mx", retry=LATER, tls=TlsMode.NONE))
        newsletter = [f"a@news{n}.test" for n in range(200)]
        await send(spool, *newsletter, traffic_class=TrafficClass.BULK)
        resolver = Slow(zone.address)
        async with delivering(spool, resolver=resolver, port=mx.port, room=100, finish=0.1):
            await resolver.is_asked.wait()
            await send(spool, "b@new.test")
            async with asyncio.timeout(patient(4)):  # who is put off comes back after five seconds
                await mx.received(1)


async def test_one_clients_mail_to_silent_domains_does_not_keep_out_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would have every place and every turn, and new names would be asked for after minutes."""
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    spool = MemorySpool()
    silent = {f"d{n}.evil.test": ZoneFault.SILENCE for n in range(500)}
    async with ScriptedMx() as mx, Zone({**silent, "new.test": ["A 127.0.0.1"]}) as zone:
        await publish(spool, anywhere=EgressPath("relay:shop/mx", retry=LATER, tls=TlsMode.NONE))
        await send(spool, *(f"a@{name}" for name in silent), origin=Origin("shop/evil", "shop"))
        resolver = Resolver(zone.address)
        async with delivering(spool, resolver=resolver, port=mx.port, room=1500, finish=0.1):
            await zone.was_asked(75)
            await send(spool, "b@new.test")
            async with asyncio.timeout(patient(4)):  # who is put off comes back after five seconds
                await mx.received(1)


def entered(room: Lookups, count: int, senders: int, *, bulk: bool, slow: bool = False) -> int:
    """Let the mail of several senders come by turns; return how many records got places."""
    traffic_class = BULK if bulk else TRANSACTIONAL
    names = [f"{traffic_class}{n % senders}" for n in range(count)]
    return [room.enter(traffic_class, name, 1, slow=slow) for name in names].count(True)


@pytest.mark.parametrize("slow", [False, True])
def test_bulk_leaves_places_to_transactional(slow: bool) -> None:
    room = Lookups(36)
    bulk = entered(room, 100, 100, bulk=True, slow=slow)
    transactional = entered(room, 100, 100, bulk=False, slow=slow)
    assert (bulk, transactional) == ((9, 3) if slow else (27, 9))
    room.leave(BULK, f"{BULK}0", 1, slow=slow)
    assert room.enter(TRANSACTIONAL, "new", 1, slow=slow), "and has what bulk does not need"
    assert not room.enter(BULK, "new", 1, slow=slow)


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("senders", [1, 2, 10])
def test_no_senders_leave_another_without_a_place(senders: int, slow: bool, bulk: bool) -> None:
    room = Lookups(400)
    entered(room, 4000, senders, bulk=bulk, slow=slow)
    assert room.enter(BULK if bulk else TRANSACTIONAL, "another", 1, slow=slow)


def test_a_sender_has_three_quarters_of_the_places() -> None:
    room = Lookups(400)
    assert entered(room, 500, 1, bulk=False) == 300
    assert entered(room, 500, 1, bulk=True) == 75, "and another one three quarters of the rest"


def test_transactional_is_not_put_off_behind_bulk() -> None:
    room = Lookups(10)
    bulk = [room.wait(BULK, "a", 100.0) for _ in range(45_000)]
    assert bulk[-1] == 900
    assert room.wait(TRANSACTIONAL, "a", 100.0) == 5


def test_a_sender_is_not_put_off_behind_another() -> None:
    room = Lookups(10)
    for _ in range(10_000):
        room.wait(TRANSACTIONAL, "evil", 100.0)
    assert [round(room.wait(TRANSACTIONAL, "good", 100.0), 6) for _ in range(3)] == [5, 5.04, 5.08]
    assert room.wait(TRANSACTIONAL, "evil", 100.0) == pytest.approx(205.02), "they share the rate"


def test_a_sender_whose_mail_has_come_back_has_no_part_of_the_rate_any_more() -> None:
    room = Lookups(10)
    for n in range(1000):
        room.wait(TRANSACTIONAL, f"once{n}", 100.0)
    waits = [room.wait(TRANSACTIONAL, "now", 110.0) for _ in range(3)]
    assert waits == pytest.approx([5, 5.02, 5.04])


def test_names_that_were_not_answered_have_a_part_of_the_places() -> None:
    room = Lookups(9)
    assert entered(room, 4, 4, bulk=False, slow=True) == 3
    assert entered(room, 7, 7, bulk=False) == 6
    room.leave(TRANSACTIONAL, f"{TRANSACTIONAL}0", 1, slow=True)
    assert room.enter(TRANSACTIONAL, "new", 1, slow=True)


def test_what_is_put_off_comes_back_a_little_at_a_time() -> None:
    room = Lookups(10)
    waits = [room.wait(TRANSACTIONAL, "a", 100.0) for _ in range(1000)]
    assert waits[0] == 5
    assert 20 < waits[-1] < 30
    assert waits == sorted(waits)
    assert room.wait(TRANSACTIONAL, "a", 1000.0) == 5
