"""The quotas that a message counts against, and their keys."""

import ipaddress
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Mailbox
from postroad.policy.limits.quota import (
    Sending,
    demands,
    fixed_value,
    subject_value,
    usage_key,
    window_end,
)
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)

NOW = datetime(2026, 11, 24, 10, 47, 40, 500_000, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEBSHOP = Sending(
    client=ObjectKey("shop", "webshop"),
    reverse_path=Mailbox("Info", "a.example.com"),
    address=ipaddress.ip_address("192.0.2.77"),
    recipients=3,
    octets=1000,
)
STRANGER = Sending(None, Mailbox("info", "a.example.com"), ipaddress.ip_address("2001:db8::1:2"))


@pytest.mark.parametrize(
    ("subject", "sending", "value"),
    [
        (QuotaSubject(SubjectKind.NAMESPACE, "shop"), WEBSHOP, "shop"),
        (QuotaSubject(SubjectKind.NAMESPACE, "*"), WEBSHOP, "shop"),
        (QuotaSubject(SubjectKind.NAMESPACE, "mail"), WEBSHOP, None),
        (QuotaSubject(SubjectKind.NAMESPACE, "*"), STRANGER, None),
        (QuotaSubject(SubjectKind.CLIENT, "shop/webshop"), WEBSHOP, "shop/webshop"),
        (QuotaSubject(SubjectKind.CLIENT, "shop/*"), WEBSHOP, "shop/webshop"),
        (QuotaSubject(SubjectKind.CLIENT, "*/*"), WEBSHOP, "shop/webshop"),
        (QuotaSubject(SubjectKind.CLIENT, "mail/webshop"), WEBSHOP, None),
        (QuotaSubject(SubjectKind.CLIENT, "shop/other"), WEBSHOP, None),
        (QuotaSubject(SubjectKind.SENDER_DOMAIN, "*.example.com"), WEBSHOP, "a.example.com"),
        (QuotaSubject(SubjectKind.SENDER_DOMAIN, "example.com"), WEBSHOP, None),
        (QuotaSubject(SubjectKind.SENDER_DOMAIN, "*"), STRANGER, None),
        (QuotaSubject(SubjectKind.SENDER, "*@a.example.com"), WEBSHOP, "info@a.example.com"),
        (QuotaSubject(SubjectKind.SENDER, "me@a.example.com"), WEBSHOP, None),
        (QuotaSubject(SubjectKind.CLIENT_NETWORK, prefix_length=24), WEBSHOP, "192.0.2.0/24"),
        (QuotaSubject(SubjectKind.CLIENT_NETWORK), STRANGER, "2001:db8::/64"),
    ],
)
def test_a_message_counts_for_whom_it_is_sent(
    subject: QuotaSubject, sending: Sending, value: str | None
) -> None:
    assert subject_value(subject, sending) == value


@pytest.mark.parametrize(
    "written", ["*@shop.example", "Alice@shop.example", '"alice"@shop.example']
)
def test_one_sender_is_one_count_however_the_address_is_written(written: str) -> None:
    subject = QuotaSubject(SubjectKind.SENDER, written)
    spelled = ["alice", "ALICE", '"alice"', r'"al\ice"', '"Alice"']
    values = {
        subject_value(subject, replace(WEBSHOP, reverse_path=Mailbox(local, "shop.example")))
        for local in spelled
    }
    assert values == {"alice@shop.example"}
    assert fixed_value(subject) in (None, "alice@shop.example")
    other = replace(WEBSHOP, reverse_path=Mailbox('"alice "', "shop.example"))
    assert subject_value(subject, other) != "alice@shop.example"


def test_the_null_reverse_path_is_no_sender() -> None:
    bounce = Sending(ObjectKey("shop", "webshop"), None, ipaddress.ip_address("192.0.2.1"))
    assert subject_value(QuotaSubject(SubjectKind.SENDER, "*"), bounce) is None


def test_each_limit_takes_its_own_unit() -> None:
    limits = (
        QuotaLimit(QuotaUnit.MESSAGES, 10, HOUR),
        QuotaLimit(QuotaUnit.RECIPIENTS, 20, timedelta(days=1)),
        QuotaLimit(QuotaUnit.BYTES, 5000, HOUR),
    )
    quota = Quota(ObjectKey("mail", "q.1"), QuotaSubject(SubjectKind.NAMESPACE, "shop"), limits)
    other = Quota(ObjectKey("mail", "o"), QuotaSubject(SubjectKind.NAMESPACE, "other"), limits)
    found = demands([quota, other], WEBSHOP, NOW)
    assert [(each.amount, each.maximum) for each in found] == [(1, 10), (3, 20), (1000, 5000)]
    hours = int(NOW.timestamp()) // 3600
    assert found[0].key == f"mail.q=2E1.messages.3600.{hours}.shop"
    assert found[0].window_end == datetime(2026, 11, 24, 11, tzinfo=UTC)
    assert found[1].window_end == datetime(2026, 11, 25, tzinfo=UTC)
    assert found[0].expires > found[0].window_end
    # What a clock counted that is some minutes fast, counts.
    assert found[0].since == datetime(2026, 11, 24, 9, 50, tzinfo=UTC)


def test_units_the_message_has_none_of_are_not_asked_for() -> None:
    limits = (QuotaLimit(QuotaUnit.MESSAGES, 10, HOUR), QuotaLimit(QuotaUnit.BYTES, 5000, HOUR))
    quota = Quota(ObjectKey("mail", "q"), QuotaSubject(SubjectKind.NAMESPACE, "*"), limits)
    at_data = Sending(WEBSHOP.client, None, WEBSHOP.address, messages=0, octets=7)
    assert [each.limit.unit for each in demands([quota], at_data, NOW)] == [QuotaUnit.BYTES]


@given(st.text(max_size=200), st.text(max_size=200))
def test_keys_are_plain_and_tell_values_apart(one: str, other: str) -> None:
    limit = QuotaLimit(QuotaUnit.MESSAGES, 10, HOUR)
    keys = [usage_key(ObjectKey("mail", "q"), limit, value, NOW) for value in (one, other)]
    for key in keys:
        assert re.fullmatch(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]*){5}", key)
        assert len(key) < 250
    assert (keys[0] == keys[1]) is (one == other)


@given(
    st.floats(10**9, 4 * 10**9),
    st.integers(1, 31 * 86400),
)
def test_a_window_is_left_exactly_when_its_key_changes(at: float, seconds: int) -> None:
    now = datetime.fromtimestamp(at, UTC)
    limit = QuotaLimit(QuotaUnit.MESSAGES, 10, timedelta(seconds=seconds))
    end = window_end(limit.window, now)
    assert now < end <= now + limit.window

    def key(at: datetime) -> str:
        return usage_key(ObjectKey("mail", "q"), limit, "v", at)

    assert key(end - timedelta(microseconds=1)) == key(now)
    assert key(end) != key(now)
