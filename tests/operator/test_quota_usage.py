"""A Quota's status shows its present use, and of many counts the largest few."""

from datetime import UTC, datetime, timedelta

from postroad.operator.probes.quota_usage import SHOWN, read_usage
from postroad.policy.limits.quota import usage_key
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)
from postroad.spool.memory.spool import MemorySpool

NOW = datetime(2026, 11, 24, 10, 20, 0, tzinfo=UTC)
HOURLY = QuotaLimit(QuotaUnit.MESSAGES, 100, timedelta(hours=1))


async def spend(spool: MemorySpool, quota: Quota, value: str, amount: int) -> None:
    key = usage_key(quota.key, quota.limits[0], value, NOW)
    await spool.usage.lease(key, amount=amount, maximum=10**6, since=NOW, expires=NOW)


async def test_one_count_is_read_by_its_key() -> None:
    spool = MemorySpool()
    quota = Quota(ObjectKey("shop", "q"), QuotaSubject(SubjectKind.NAMESPACE, "shop"), (HOURLY,))
    await spend(spool, quota, "shop", 42)
    assert await read_usage([quota], spool.usage, NOW) == {
        quota.key: [
            {
                "limit": "messages/1h",
                "used": 42,
                "max": 100,
                "resetsAt": "2026-11-24T11:00:00Z",
            }
        ]
    }


async def test_of_many_counts_the_greatest_are_shown() -> None:
    spool = MemorySpool()
    quota = Quota(ObjectKey("shop", "q"), QuotaSubject(SubjectKind.SENDER, "*"), (HOURLY,))
    other = Quota(ObjectKey("shop", "r"), QuotaSubject(SubjectKind.SENDER, "*"), (HOURLY,))
    for number in range(1, 31):
        await spend(spool, quota, f"user{number}@shop.example", number)
    await spend(spool, other, "somebody@shop.example", 7)
    lines = await read_usage([quota, other], spool.usage, NOW)
    assert [(line["subject"], line["used"]) for line in lines[quota.key]] == [
        (f"user{number}@shop.example", number) for number in range(30, 30 - SHOWN, -1)
    ]
    assert [line["used"] for line in lines[other.key]] == [7]


async def test_a_sender_does_not_steer_who_reads_the_status() -> None:
    spool = MemorySpool()
    quota = Quota(ObjectKey("shop", "q"), QuotaSubject(SubjectKind.SENDER, "*"), (HOURLY,))
    await spend(spool, quota, "a\u202eb\x9b@shop.example", 1)
    [line] = (await read_usage([quota], spool.usage, NOW))[quota.key]
    assert line["subject"] == r"a\u202eb\x9b@shop.example"


async def test_a_new_window_begins_at_nothing() -> None:
    spool = MemorySpool()
    quota = Quota(ObjectKey("shop", "q"), QuotaSubject(SubjectKind.SENDER, "*"), (HOURLY,))
    await spend(spool, quota, "user@shop.example", 5)
    later = NOW + timedelta(hours=1)
    assert await read_usage([quota], spool.usage, later) == {quota.key: []}


async def test_the_limit_that_is_used_most_is_told_first() -> None:
    spool = MemorySpool()
    daily = QuotaLimit(QuotaUnit.MESSAGES, 10, timedelta(days=1))
    subject = QuotaSubject(SubjectKind.NAMESPACE, "shop")
    quota = Quota(ObjectKey("shop", "q"), subject, (HOURLY, daily))
    for limit, used in ((HOURLY, 20), (daily, 5)):
        key = usage_key(quota.key, limit, "shop", NOW)
        await spool.usage.lease(key, amount=used, maximum=10**6, since=NOW, expires=NOW)
    lines = await read_usage([quota], spool.usage, NOW)
    assert [line["limit"] for line in lines[quota.key]] == ["messages/1d", "messages/1h"]
