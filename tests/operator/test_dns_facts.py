"""Conditions about a domain's DNS records: only an answer of the DNS makes one False."""

import pytest

from postroad.operator.status.conditions import Truth
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts, State, compare, wanted

HOST = "mail.relay.example"
GOOD = DnsFacts(
    mx=DnsAnswer((HOST, "backup.example")),
    txt=DnsAnswer(("google-site-verification=x", "v=spf1 include:relay.example -all")),
    dmarc=DnsAnswer(("v=DMARC1; p=reject",)),
)


def facts(
    mx: DnsAnswer = GOOD.mx, txt: DnsAnswer = GOOD.txt, dmarc: DnsAnswer = GOOD.dmarc
) -> DnsFacts:
    return DnsFacts(mx, txt, dmarc)


@pytest.mark.parametrize(
    ("found", "states", "status", "reason"),
    [
        (GOOD, "Found Found Found", Truth.TRUE, "RecordsFound"),
        (facts(mx=DnsAnswer()), "Missing Found Found", Truth.FALSE, "RecordsMissing"),
        (
            facts(mx=DnsAnswer(("other.example",))),
            "Different Found Found",
            Truth.FALSE,
            "RecordsDiffer",
        ),
        (
            facts(txt=DnsAnswer(("v=spf1 -all", "v=spf1 mx -all"))),
            "Found Different Found",
            Truth.FALSE,
            "RecordsDiffer",
        ),
        (
            facts(txt=DnsAnswer(("v=spf10 -all",))),
            "Found Missing Found",
            Truth.FALSE,
            "RecordsMissing",
        ),
        (facts(dmarc=DnsAnswer()), "Found Found Missing", Truth.FALSE, "RecordsMissing"),
        (
            facts(mx=DnsAnswer(trouble="no answer")),
            "Unknown Found Found",
            Truth.UNKNOWN,
            "LookupFailed",
        ),
        (
            facts(mx=DnsAnswer(trouble="no answer"), dmarc=DnsAnswer()),
            "Unknown Found Missing",
            Truth.FALSE,
            "RecordsMissing",
        ),
    ],
)
def test_what_was_found_decides(found: DnsFacts, states: str, status: Truth, reason: str) -> None:
    records = wanted("shop.example", receives=True, sends=True, hostname=HOST)
    compared, judgement = compare(records, found, hostname=HOST)
    assert [each.state for each in compared] == [State(state) for state in states.split()]
    assert (judgement.status, judgement.reason) == (status, reason)


def test_what_to_publish_follows_from_what_a_domain_does() -> None:
    def said(*, receives: bool, sends: bool, hostname: str = HOST) -> list[tuple[str, str, str]]:
        records = wanted("a.example", receives=receives, sends=sends, hostname=hostname)
        return [(each.name, each.type, each.value) for each in records]

    assert said(receives=True, sends=False) == [("a.example", "MX", f"10 {HOST}")]
    assert said(receives=True, sends=False, hostname="") == []
    assert said(receives=False, sends=True) == [
        ("a.example", "TXT", "v=spf1 mx -all"),
        ("_dmarc.a.example", "TXT", "v=DMARC1; p=none"),
    ]


def test_a_status_tells_what_stands_there_instead() -> None:
    records = wanted("shop.example", receives=True, sends=False, hostname=HOST)
    [record], _ = compare(records, facts(mx=DnsAnswer(("other.example",))), hostname=HOST)
    assert record.as_status() == {
        "name": "shop.example",
        "type": "MX",
        "value": f"10 {HOST}",
        "state": "Different",
        "found": "other.example",
    }


def test_a_record_does_not_steer_who_reads_the_status() -> None:
    records = wanted("shop.example", receives=True, sends=False, hostname=HOST)
    [record], _ = compare(records, facts(mx=DnsAnswer(("\x1b[2J.example",))), hostname=HOST)
    assert record.as_status()["found"] == r"\x1b[2J.example"
