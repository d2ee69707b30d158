"""
What an intruder counts before a window begins, no process takes for a count.

A count is written by every process that accepts mail, and the keys of all windows to come can be
computed. So the windows of years could be spent in a second, and nobody could accept mail in them.
"""

import ipaddress
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from postroad.acceptance.quotas import Allowed, Quotas
from postroad.ingress.auth.brake import Brake, Guess
from postroad.operator.probes.quota_usage import read_usage
from postroad.policy.limits.quota import Sending, usage_key
from postroad.policy.model import (
    ObjectKey,
    OnExceeded,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)
from postroad.policy.snapshot import Snapshot
from postroad.spool.jetstream.nats.direct_get import Page, StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, token
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

PERIOD = timedelta(days=30)
LATER = 2 * PERIOD
MONTHLY = QuotaLimit(QuotaUnit.MESSAGES, 10, PERIOD)
SENDING = Sending(ObjectKey("shop", "web"), None, ipaddress.ip_address("192.0.2.1"))
MUCH = b"1000000 2099-01-01T00:00:00+00:00"


def quota(kind: SubjectKind = SubjectKind.NAMESPACE) -> Quota:
    subject = QuotaSubject(kind, "*")
    return Quota(ObjectKey("mail", "all"), subject, (MONTHLY,), on_exceeded=OnExceeded.REJECT)


async def count_falsely(servers: Servers, key: str, value: bytes = MUCH) -> int:
    client = servers.clients["ingress"]
    said = await client.request(f"$KV.quotas.{token(key)}", value, timeout=patient(5))
    return int(json.loads(said.data)["seq"])


def two_periods_pass(monkeypatch: pytest.MonkeyPatch, *, last: int) -> None:
    """What is stored up to a sequence was stored two periods ago."""
    get, changes = Bucket.get, Bucket.changes

    def older(message: StoredMessage) -> StoredMessage:
        if message.sequence > last:
            return message
        return replace(message, stored_at=message.stored_at - LATER)

    async def get_older(bucket: Bucket, key: str) -> StoredMessage | None:
        message = await get(bucket, key)
        return older(message) if message else None

    async def older_changes(bucket: Bucket, keys: str, *, after: int) -> Page:
        page = await changes(bucket, keys, after=after)
        return Page([older(message) for message in page.messages], page.pending)

    monkeypatch.setattr(Bucket, "get", get_older)
    monkeypatch.setattr(Bucket, "changes", older_changes)


@pytest.mark.parametrize("used", [1_000_000, 1, 0])
async def test_a_quota_is_not_spent_before_its_window(
    servers: Servers, ingress: JetStreamSpool, monkeypatch: pytest.MonkeyPatch, used: int
) -> None:
    now = datetime.now(UTC)
    key = usage_key(quota().key, MONTHLY, "shop", now)
    last = await count_falsely(servers, key, b"%d 2099-01-01T00:00:00+00:00" % used)
    two_periods_pass(monkeypatch, last=last)
    snapshot = Snapshot(1, quotas={quota().key: quota()})
    assert (await read_usage([quota()], ingress.usage, now))[quota().key] == []
    two = [Quotas(ingress.usage), Quotas(ingress.usage)]  # as two processes, and exact for both
    taken = [await two[number % 2].take(snapshot, SENDING) for number in range(13)]
    assert [isinstance(each, Allowed) for each in taken] == [True] * 10 + [False] * 3
    [line] = (await read_usage([quota()], ingress.usage, now))[quota().key]
    assert line["used"] == 10


async def test_what_is_given_back_does_not_make_a_false_count_true(
    servers: Servers, ingress: JetStreamSpool
) -> None:
    since = datetime.now(UTC) + PERIOD
    await count_falsely(servers, "k")
    await ingress.usage.give_back("k", 5, since=since)
    assert await ingress.usage.used("k", since=since) == 0
    assert await ingress.usage.used("k", since=since - LATER) == 1_000_000


async def test_the_operator_removes_what_was_stored_without_an_end(
    servers: Servers, ingress: JetStreamSpool
) -> None:
    since, end = (datetime.now(UTC) + days * PERIOD for days in (-1, 1))
    await count_falsely(servers, "k")
    said = await servers.ask("operator", "$JS.API.STREAM.PURGE.KV_quotas")
    assert said["purged"] == 1
    lease = await ingress.usage.lease("k", amount=1, maximum=1, since=since, expires=end)
    assert lease == 1


async def test_nobody_is_shut_out_before_a_login_has_failed(
    servers: Servers, ingress: JetStreamSpool
) -> None:
    brake, guess = Brake(per_network=5, per_name=3), Guess.of("192.0.2.0/24", "shop")
    for _, count in brake.shared(guess, datetime.now(UTC) + LATER):
        await count_falsely(servers, count.key)
        granted = await ingress.usage.lease(
            count.key, amount=1, maximum=count.maximum, since=count.since, expires=count.expires
        )
        assert granted == 1


@pytest.mark.parametrize("value", ["é", "\udcff", "a b", "x" * 150, "=", "=4"])
async def test_a_key_of_any_text_keeps_no_usage_from_statuses(
    servers: Servers, ingress: JetStreamSpool, value: str
) -> None:
    """Keys like these ended the task that reads the usage, or could not be shown."""
    now = datetime.now(UTC)
    each = quota(SubjectKind.SENDER)
    prefix = usage_key(each.key, MONTHLY, "", now)
    await count_falsely(servers, prefix + value, b"3 2026-11-24T10:00:00+00:00")
    await count_falsely(servers, usage_key(each.key, MONTHLY, "a@b.example", now), b"7 " + MUCH[8:])
    lines = (await read_usage([each], ingress.usage, now))[each.key]
    assert (lines[0]["subject"], lines[0]["used"]) == ("a@b.example", 7)


async def test_no_number_keeps_usage_from_statuses(
    servers: Servers, ingress: JetStreamSpool
) -> None:
    """A number of 400 digits has no share of a maximum, and no status takes it."""
    now = datetime.now(UTC)
    key = usage_key(quota().key, MONTHLY, "shop", now)
    single = replace(quota(), subject=QuotaSubject(SubjectKind.NAMESPACE, "shop"))
    for used in (-1, 10**400, 2**63):
        await count_falsely(servers, key, b"%d 2026-11-24T10:00:00+00:00" % used)
        for each in (quota(), single):
            lines = (await read_usage([each], ingress.usage, now))[each.key]
            assert [line["used"] for line in lines] in ([], [0])
