"""Of thousands of Quotas, only those that a message may count against are checked."""

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Mailbox
from postroad.policy.limits.quota import Sending, demands
from postroad.policy.limits.quota_index import QuotaIndex
from postroad.policy.model import (
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    SubjectKind,
)

NOW = datetime(2026, 11, 24, 10, 47, 40, tzinfo=UTC)
LIMIT = QuotaLimit(QuotaUnit.MESSAGES, 10, timedelta(hours=1))
NAMES = ("shop", "mail")
DOMAINS = ("example.com", "a.example.com", "b.a.example.com", "other.example")
PATTERNS = (*DOMAINS, "*", "*.example.com", "*.a.example.com")
LOCALS = ("info", "INFO", '"info"', "me")
SENDERS = ("*", *(f"{local}@{domain}" for local in (*LOCALS, "*") for domain in PATTERNS))
SUBJECTS = st.one_of(
    st.builds(QuotaSubject, st.just(SubjectKind.NAMESPACE), st.sampled_from((*NAMES, "*"))),
    st.builds(
        QuotaSubject,
        st.just(SubjectKind.CLIENT),
        st.sampled_from([f"{n}/{c}" for n in (*NAMES, "*") for c in ("web", "news", "*")]),
    ),
    st.builds(QuotaSubject, st.just(SubjectKind.SENDER_DOMAIN), st.sampled_from(PATTERNS)),
    st.builds(QuotaSubject, st.just(SubjectKind.SENDER), st.sampled_from(SENDERS)),
    st.just(QuotaSubject(SubjectKind.CLIENT_NETWORK)),
)
SENDINGS = st.builds(
    Sending,
    st.one_of(
        st.none(), st.builds(ObjectKey, st.sampled_from(NAMES), st.sampled_from(("web", "news")))
    ),
    st.one_of(st.none(), st.builds(Mailbox, st.sampled_from(LOCALS), st.sampled_from(DOMAINS))),
    st.just(ipaddress.ip_address("192.0.2.1")),
)


def quotas(*subjects: QuotaSubject) -> list[Quota]:
    return [
        Quota(ObjectKey("mail", f"q{number}"), subject, (LIMIT,))
        for number, subject in enumerate(subjects)
    ]


@given(st.lists(SUBJECTS, max_size=20), SENDINGS)
def test_all_are_found_that_a_message_counts_against(
    subjects: list[QuotaSubject], sending: Sending
) -> None:
    written = quotas(*subjects)
    found = demands(QuotaIndex(written).of(sending), sending, NOW)
    assert sorted(each.key for each in found) == sorted(
        each.key for each in demands(written, sending, NOW)
    )


def test_what_is_about_others_is_not_looked_at() -> None:
    many = quotas(
        *(QuotaSubject(SubjectKind.SENDER, f"u{n}@a.example.com") for n in range(1000)),
        *(QuotaSubject(SubjectKind.CLIENT, f"shop/c{n}") for n in range(1000)),
        *(QuotaSubject(SubjectKind.SENDER_DOMAIN, f"d{n}.example.com") for n in range(1000)),
        *(QuotaSubject(SubjectKind.NAMESPACE, f"n{n}") for n in range(1000)),
    )
    sending = Sending(
        ObjectKey("n9", "c9"), Mailbox("U9", "a.example.com"), ipaddress.ip_address("192.0.2.1")
    )
    found = QuotaIndex(many).of(sending)
    assert [each.subject.match for each in found] == ["u9@a.example.com", "n9"]


def test_those_come_first_whose_count_fewest_share() -> None:
    kinds = [*SubjectKind] * 2
    matches = {
        SubjectKind.CLIENT: "*/*",
        SubjectKind.SENDER: "*@a.example.com",
    }
    every = quotas(*(QuotaSubject(kind, matches.get(kind, "*")) for kind in kinds))
    sending = Sending(
        ObjectKey("shop", "web"), Mailbox("me", "a.example.com"), ipaddress.ip_address("192.0.2.1")
    )
    for written in (every, [replace(every[0]), every[3]]):
        order = [each.subject.kind for each in QuotaIndex(written).of(sending)]
        assert order == sorted(
            order,
            key=[
                SubjectKind.SENDER,
                SubjectKind.CLIENT,
                SubjectKind.SENDER_DOMAIN,
                SubjectKind.CLIENT_NETWORK,
                SubjectKind.NAMESPACE,
            ].index,
        )
