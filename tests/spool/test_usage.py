"""Quotas are exact for the whole cluster: no failure of a process grants too much."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from nats.js.api import PubAck

from postroad.ingress.auth.brake import Brake, Guess
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.cluster.quota_counters import JetStreamQuotaCounters
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.key_value import Bucket, token
from postroad.testing.patience import patient

pytestmark = pytest.mark.nats

OpenLink = Callable[[], Awaitable[Link]]
KEY = "shop/newsletter.messages.1h.2026-11-24T10"
HOUR = timedelta(hours=1)
SINCE = datetime.now(UTC) - HOUR


def in_an_hour() -> datetime:
    return datetime.now(UTC) + HOUR


def usage_on(link: Link) -> JetStreamQuotaCounters:
    return JetStreamQuotaCounters(Bucket(link, "quotas"))


async def test_takers_and_returners_in_many_processes_stay_within_the_limit(
    open_link: OpenLink,
) -> None:
    maximum = 500
    processes = [usage_on(await open_link()) for _ in range(5)]
    held = [0] * len(processes)
    highest = 0

    async def work(number: int) -> None:
        nonlocal highest
        chance = random.Random(number)
        for _ in range(40):
            if held[number] and chance.random() < 0.3:
                back = chance.randint(1, held[number])
                held[number] -= back
                await processes[number].give_back(KEY, back, since=SINCE)
            else:
                amount = chance.randint(1, 20)
                got = await processes[number].lease(
                    KEY, amount=amount, maximum=maximum, since=SINCE, expires=in_an_hour()
                )
                held[number] += got
            highest = max(highest, sum(held))

    await asyncio.gather(*(work(number) for number in range(len(processes))))
    assert highest <= maximum
    assert await processes[0].used(KEY, since=SINCE) == sum(held)


async def test_a_process_that_dies_wastes_its_slice_and_no_more(open_link: OpenLink) -> None:
    granted = 0
    survivor = usage_on(await open_link())

    async def lease_for_ever(usage: JetStreamQuotaCounters) -> None:
        nonlocal granted
        while True:
            granted += await usage.lease(
                KEY, amount=3, maximum=300, since=SINCE, expires=in_an_hour()
            )

    for death in range(6):
        link = await open_link()
        mortal = asyncio.ensure_future(lease_for_ever(usage_on(link)))
        before = granted
        async with asyncio.timeout(patient(10)):
            while granted <= before + 3 * death:
                await asyncio.sleep(0)
        mortal.cancel()
        await asyncio.gather(mortal, return_exceptions=True)
        await link.client.close()
    while got := await survivor.lease(
        KEY, amount=50, maximum=300, since=SINCE, expires=in_an_hour()
    ):
        granted += got
    assert 300 - 6 * 3 <= granted <= 300
    assert await survivor.used(KEY, since=SINCE) == 300


class LosesAcknowledgements:
    """JetStream that stores what is published and, when told to, says that it timed out."""

    def __init__(self, link: Link) -> None:
        self.client, self.api = link.client, link.api
        self._jetstream = link.jetstream
        self.lose = 0
        self.meanwhile: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)

    @property
    def jetstream(self) -> "LosesAcknowledgements":
        return self

    async def publish(self, subject: str, payload: bytes, **more: object) -> PubAck:
        acknowledged = await self._jetstream.publish(subject, payload, **more)  # type: ignore[arg-type]
        if self.lose:
            self.lose -= 1
            await self.meanwhile()
            raise TimeoutError
        return acknowledged


async def test_a_lease_whose_acknowledgement_is_lost_is_counted_once(link: Link) -> None:
    losing = LosesAcknowledgements(link)
    usage = usage_on(losing)  # type: ignore[arg-type]
    losing.lose = 1
    assert await usage.lease(KEY, amount=10, maximum=100, since=SINCE, expires=in_an_hour()) == 10
    assert await usage.used(KEY, since=SINCE) == 10
    losing.lose = 1
    await usage.give_back(KEY, 4, since=SINCE)
    assert await usage.used(KEY, since=SINCE) == 6


async def test_what_may_have_been_given_back_is_not_given_back_again(open_link: OpenLink) -> None:
    losing, other = LosesAcknowledgements(await open_link()), usage_on(await open_link())
    usage = usage_on(losing)  # type: ignore[arg-type]
    await usage.lease(KEY, amount=10, maximum=10, since=SINCE, expires=in_an_hour())
    losing.meanwhile = lambda: other.lease(
        KEY, amount=4, maximum=10, since=SINCE, expires=in_an_hour()
    )
    losing.lose = 1
    with pytest.raises(SpoolUnavailable):
        await usage.give_back(KEY, 4, since=SINCE)
    assert await usage.used(KEY, since=SINCE) == 10


async def test_a_lowered_limit_grants_nothing_more(link: Link) -> None:
    usage = usage_on(link)
    assert await usage.lease(KEY, amount=80, maximum=100, since=SINCE, expires=in_an_hour()) == 80
    assert await usage.lease(KEY, amount=80, maximum=50, since=SINCE, expires=in_an_hour()) == 0
    assert await usage.used(KEY, since=SINCE) == 80


async def test_what_others_gave_back_is_found_by_who_saw_it_exhausted(open_link: OpenLink) -> None:
    one, other = usage_on(await open_link()), usage_on(await open_link())
    assert await one.lease(KEY, amount=10, maximum=10, since=SINCE, expires=in_an_hour()) == 10
    assert await other.lease(KEY, amount=1, maximum=10, since=SINCE, expires=in_an_hour()) == 0
    await one.give_back(KEY, 5, since=SINCE)
    assert await other.lease(KEY, amount=9, maximum=10, since=SINCE, expires=in_an_hour()) == 5


async def test_a_key_ends_some_minutes_after_its_window(link: Link) -> None:
    usage = usage_on(link)
    await usage.lease(KEY, amount=1, maximum=10, since=SINCE, expires=in_an_hour())
    await usage.lease(KEY, amount=1, maximum=10, since=SINCE, expires=in_an_hour())
    await usage.give_back(KEY, 1, since=SINCE)
    message = await link.jetstream.get_last_msg("KV_quotas", "$KV.quotas.>", direct=True)
    assert message.headers is not None
    lasts = timedelta(seconds=int(message.headers["Nats-TTL"]))
    assert HOUR < lasts < HOUR + timedelta(minutes=6)


@pytest.mark.parametrize(
    "key",
    ["", ".", "a.b", "*", ">", "a b", "bücher@x.example", "\udcff", "=", "a" * 5000, "KEY", "key"],
)
async def test_any_text_is_a_key_of_its_own(link: Link, key: str) -> None:
    usage = usage_on(link)
    assert await usage.lease("other", amount=1, maximum=9, since=SINCE, expires=in_an_hour()) == 1
    assert await usage.lease(key, amount=5, maximum=9, since=SINCE, expires=in_an_hour()) == 5
    assert await usage.used(key, since=SINCE) == 5
    assert await usage.used("other", since=SINCE) == 1


async def test_giving_back_after_the_window_changes_nothing(link: Link) -> None:
    usage = usage_on(link)
    await usage.give_back(KEY, 5, since=SINCE)
    assert await usage.used(KEY, since=SINCE) == 0


async def test_without_nats_a_lease_says_so_in_time(link: Link) -> None:
    usage = usage_on(link)
    await link.client.close()
    with pytest.raises(SpoolUnavailable):
        await usage.lease(KEY, amount=1, maximum=9, since=SINCE, expires=in_an_hour())


async def test_failed_logins_are_counted_for_all_processes_whatever_the_name(
    open_link: OpenLink,
) -> None:
    one, two = usage_on(await open_link()), usage_on(await open_link())
    guess = Guess.of("2001:db8::/64", "a.*> \r\n\udcff" * 500)
    counts = Brake(per_network=5, per_name=3).shared(guess, datetime.now(UTC))
    for _, count in counts:
        granted = [
            await usage.lease(
                count.key, amount=1, maximum=count.maximum, since=count.since, expires=count.expires
            )
            for usage in (one, two) * 3
        ]
        assert sum(granted) == count.maximum
        assert await one.used(count.key, since=count.since) == count.maximum


ODD = [f"{used} 2026-11-24T10:00Z".encode() for used in (-1, -(10**9), 2**63, 10**400)]


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"x", b"1", b"1 2026-11-24", b"9" * 5000 + b" 2026-11-24T10:00Z", *ODD]
)
async def test_a_count_that_nobody_counted_is_replaced_and_hides_no_other(
    link: Link, value: bytes
) -> None:
    """Such a value refused the mail of its Quota for good, and kept all usage from statuses."""
    usage = usage_on(link)
    await usage.lease(KEY, amount=3, maximum=10, since=SINCE, expires=in_an_hour())
    bucket = Bucket(link, "quotas")
    await bucket.put(token("odd"), value)
    await bucket.put("a=zz", b"1 2026-11-24T10:00:00+00:00")
    assert [each async for each in usage.all(lambda _: SINCE)] == [(KEY, 3)]
    assert await usage.used("odd", since=SINCE) == 0
    assert await usage.lease("odd", amount=3, maximum=10, since=SINCE, expires=in_an_hour()) == 3
    await usage.give_back("odd", 1, since=SINCE)
    assert await usage_on(link).used("odd", since=SINCE) == 2
