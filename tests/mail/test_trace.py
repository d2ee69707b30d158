"""Trace fields: ours tell what happened, and no client can add a field to them."""

import email
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import parse_mailbox
from postroad.mail.trace import ClientInfo, Hop, received_field, received_protocol

CLIENT = ClientInfo(
    ip_address("192.0.2.1"),
    "192.0.2.1",
    helo="client.example",
    tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
)
HOP = Hop(
    client=CLIENT,
    by="mx.example",
    protocol="ESMTPS",
    queue_id="01ABC",
    received=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    recipient=parse_mailbox("b@y.example"),
)


ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
LITERAL = r"\[[^\[\]\\]*\]"
TOKENS = re.compile(
    rf"from ({ATOM}|{LITERAL}) \({LITERAL}\) by {ATOM} with {ATOM} \([^()\\]*\) id {ATOM}"
    rf'( for <({ATOM}|"[^"\\]*")@{ATOM}>)?'
)


def fields(octets: bytes) -> Message:
    """Return a header block's fields as a reader of mail sees them."""
    return email.message_from_bytes(octets + b"\r\n")


def unfolded(message: Message) -> str:
    return " ".join(str(message["Received"]).split())


def test_a_received_field_says_who_by_whom_how_and_when() -> None:
    assert unfolded(fields(received_field(HOP))) == (
        "from client.example ([192.0.2.1]) by mx.example with ESMTPS "
        "(TLSv1.3 TLS_AES_256_GCM_SHA384) id 01ABC for <b@y.example>; "
        "Fri, 02 Jan 2026 03:04:05 +0000"
    )


def test_other_recipients_are_not_named_and_ipv6_is_marked() -> None:
    client = ClientInfo(ip_address("2001:db8::1"), "2001:db8::1")
    said = unfolded(fields(received_field(replace(HOP, client=client, recipient=None))))
    assert " for " not in said
    assert "([IPv6:2001:db8::1])" in said


@given(st.text(max_size=400))
def test_what_a_client_calls_itself_adds_no_field_and_no_comment(helo: str) -> None:
    octets = received_field(replace(HOP, client=replace(CLIENT, helo=helo)))
    message = fields(octets)
    assert message.keys() == ["Received"]
    assert not message.get_payload()
    assert octets.count(b"(") == 2
    assert max(map(len, octets.split(b"\r\n"))) <= 1100


@pytest.mark.parametrize(
    ("helo", "written"),
    [
        ("PC-1.office.example", "PC-1.office.example"),
        ("my_host", "my_host"),
        ("[192.0.2.7]", "[192.0.2.7]"),
        ("[IPv6:2001:DB8::7]", "[IPv6:2001:db8::7]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("b\N{REPLACEMENT CHARACTER}ro-pc", "b-ro-pc"),
        ('"pc;<x,', "pc-x"),
        ("a..b.", "a.b"),
        ("[no address]", "no-address"),
        ("(comment", "comment"),
        ("...", "unknown"),
        ("—", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_name_is_a_domain_or_a_literal_in_ascii(helo: str, written: str) -> None:
    octets = received_field(replace(HOP, client=replace(CLIENT, helo=helo)))
    assert octets.startswith(f"Received: from {written} ([192.0.2.1])\r\n".encode())


@given(helo=st.text() | st.text(st.sampled_from('ab1-_.[]:"\\<>();, @é')), to=st.booleans())
def test_strict_readers_can_read_the_field(helo: str, to: bool) -> None:
    recipient = parse_mailbox("odd..dots@y.example") if to else None
    octets = received_field(replace(HOP, client=replace(CLIENT, helo=helo), recipient=recipient))
    assert octets.isascii()
    # RFC 5322 §3.6.7: words, angle-addr and domains, then `;` and the date.
    tokens, semicolon, date = unfolded(fields(octets)).rpartition(";")
    assert semicolon
    assert parsedate_to_datetime(date) == HOP.received
    assert TOKENS.fullmatch(tokens), tokens


@pytest.mark.parametrize(
    ("extended", "utf8", "tls", "authenticated", "protocol"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, False, True, False, "ESMTPS"),
        (True, False, False, True, "ESMTPA"),
        (True, False, True, True, "ESMTPSA"),
        (True, True, False, False, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_s_name(
    extended: bool, utf8: bool, tls: bool, authenticated: bool, protocol: str
) -> None:
    said = received_protocol(extended=extended, utf8=utf8, tls=tls, authenticated=authenticated)
    assert said == protocol
