"""Mailboxes and paths: what RFC 5321 and RFC 6531 allow, and nothing else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import (
    Mailbox,
    complete_reverse_path,
    literal_address,
    meant,
    normalise_domain,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)
from postroad.mail.errors import AddressSyntaxError, DomainMissingError

LABEL = "a" * 63
LONGEST_DOMAIN = f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}"


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("a@x.example", "a", "x.example"),
        ("First.Last@X.Example", "First.Last", "x.example"),
        ("a+tag@x.example", "a+tag", "x.example"),
        ("!#$%&'*+-/=?^_`{|}~@x.example", "!#$%&'*+-/=?^_`{|}~", "x.example"),
        ("a@x.example.", "a", "x.example"),
        ("a@localhost", "a", "localhost"),
        ("a@_dmarc.x.example", "a", "_dmarc.x.example"),
        ('"two words"@x.example', '"two words"', "x.example"),
        ('"a@b"@x.example', '"a@b"', "x.example"),
        ('"a>b"@x.example', '"a>b"', "x.example"),
        (r'"a\"b\\c"@x.example', r'"a\"b\\c"', "x.example"),
        ('""@x.example', '""', "x.example"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0:0::1]", "a", "[IPv6:2001:db8::1]"),
        ("a@[ipv6:::1]", "a", "[IPv6:::1]"),
        ("a@[IPv6:::ffff:192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@bücher.example", "a", "xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a", "xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "a", "xn--bcher-kva.example"),
        ("a@bücher。example", "a", "xn--bcher-kva.example"),
        ("pelé@x.example", "pelé", "x.example"),
        ('"δ ο"@x.example', '"δ ο"', "x.example"),
        ("a" * 65 + "@x.example", "a" * 65, "x.example"),
        ("a" * 255 + "@x.example", "a" * 255, "x.example"),
        ("ä" * 127 + "@x.example", "ä" * 127, "x.example"),
        (".a@x.example", ".a", "x.example"),
        ("a.@x.example", "a.", "x.example"),
        ("a..b@x.example", "a..b", "x.example"),
        ("...@x.example", "...", "x.example"),
        ('"a b"..c@x.example', '"a b"..c', "x.example"),
        ("a@" + LABEL + ".example", "a", LABEL + ".example"),
        ("a@" + LONGEST_DOMAIN, "a", LONGEST_DOMAIN),
    ],
)
def test_mailboxes_that_are_allowed(text: str, local_part: str, domain: str) -> None:
    mailbox = parse_mailbox(text)
    assert (mailbox.local_part, mailbox.domain) == (local_part, domain)
    assert parse_mailbox(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@x.example",
        "a@",
        "a b@x.example",
        "a@b@x.example",
        "a<b@x.example",
        "a\x00b@x.example",
        "a\r\nb@x.example",
        "\ud800@x.example",
        '"\udcff"@x.example',
        '"open@x.example',
        '"a"b"@x.example',
        '"a\tb"@x.example',
        '"a\\"@x.example',
        "a@x..example",
        "a@.x.example",
        "a@-x.example",
        "a@x-.example",
        "a@x example",
        "a@x.example>",
        "a@x_y,z",
        "a@[192.0.2.1",
        "a@[192.0.2.256]",
        "a@[2001:db8::1]",
        "a@[IPv6:192.0.2.1]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[IPv6:fe80::1%x> SIZE=1]",
        "a@[]",
        "a@[x.example]",
        "a@\u2024.example",
        "ä" * 128 + "@x.example",
        "a" * 256 + "@x.example",
        "a@" + "a" * 64 + ".example",
        "a@" + LONGEST_DOMAIN + "a",
    ],
)
def test_mailboxes_that_are_not(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_mailbox(text)


@pytest.mark.parametrize(
    ("path", "mailbox"),
    [
        ("<>", None),
        ("<a@x.example>", "a@x.example"),
        ("<@relay.example,@b.example:a@x.example>", "a@x.example"),
        ('<"a>b"@x.example>', '"a>b"@x.example'),
    ],
)
def test_reverse_paths(path: str, mailbox: str | None) -> None:
    found = parse_reverse_path(path)
    assert (None if found is None else str(found)) == mailbox


@pytest.mark.parametrize("path", ["", "a@x.example", "<a@x.example", "a@x.example>", "< >", "<a>"])
def test_paths_are_in_brackets_and_whole(path: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_reverse_path(path)


@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER"])
def test_postmaster_needs_no_domain(name: str) -> None:
    found = parse_forward_path(f"<{name}>", postmaster_domain="me.example")
    assert found == Mailbox(name, "me.example")


def test_nobody_else_may_lack_a_domain_and_nobody_is_no_recipient() -> None:
    for path in ("<root>", "<>"):
        with pytest.raises(AddressSyntaxError):
            parse_forward_path(path, postmaster_domain="me.example")


def test_a_path_is_as_long_as_its_parts() -> None:
    local_part = "a" * 255
    path = f"<{local_part}@{LONGEST_DOMAIN}>"
    assert parse_reverse_path(path) == Mailbox(local_part, LONGEST_DOMAIN)
    assert parse_forward_path(path, postmaster_domain="me.example") == parse_reverse_path(path)


def test_a_sender_without_a_domain_is_one_of_the_domain_that_completes_it() -> None:
    with pytest.raises(DomainMissingError):
        parse_reverse_path("<root>")
    assert complete_reverse_path("<root>", "me.example") == Mailbox("root", "me.example")
    with pytest.raises(AddressSyntaxError):
        complete_reverse_path("<ro ot>", "me.example")


@pytest.mark.parametrize("domain", ["127.0.0.1", "0x7f000001", "127.1", "017700000001", "a.0x1"])
def test_nobody_is_at_a_domain_that_programs_take_for_an_ip_address(domain: str) -> None:
    with pytest.raises(AddressSyntaxError, match="stands in brackets"):
        parse_forward_path(f"<u@{domain}>", postmaster_domain="me.example")


@pytest.mark.parametrize("domain", ["x1", "0x.example", "1.example", "0xg", "[127.0.0.1]"])
def test_digits_elsewhere_make_no_number_of_a_domain(domain: str) -> None:
    assert parse_forward_path(f"<u@{domain}>", postmaster_domain="me.example").domain == domain


@pytest.mark.parametrize(
    ("text", "in_header"),
    [
        ("a.b@x.example", "a.b@x.example"),
        ('"a b"@x.example', '"a b"@x.example'),
        ("a..b@x.example", '"a..b"@x.example'),
        (".@x.example", '"."@x.example'),
        (r'"a\"b"..c@x.example', r'"a\"b..c"@x.example'),
    ],
)
def test_a_header_has_the_mailbox_as_strict_readers_want_it(text: str, in_header: str) -> None:
    assert parse_mailbox(text).in_header == in_header


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("Alice@X.example", "alice@x.example"),
        ('"alice"@x.example', "alice@x.example"),
        (r'"al\ICE"@x.example', "alice@x.example"),
        ('"al".ice@x.example', "al.ice@x.example"),
        ('"a b"@x.example', '"a b"@x.example'),
        (r'"\a\ \b"@x.example', '"a b"@x.example'),
        ("a..b@x.example", '"a..b"@x.example'),
        ('""@x.example', '""@x.example'),
        (r'"\"a\""@x.example', r'"\"a\""@x.example'),
    ],
)
def test_a_mailbox_is_compared_in_one_spelling(text: str, compared: str) -> None:
    assert parse_mailbox(text).compared == compared


@pytest.mark.parametrize(
    ("domain", "address"),
    [
        ("x.example", None),
        ("[192.0.2.1]", ipaddress.ip_address("192.0.2.1")),
        ("[IPv6:2001:db8::1]", ipaddress.ip_address("2001:db8::1")),
    ],
)
def test_the_address_of_a_literal(domain: str, address: object) -> None:
    assert literal_address(domain) == address


def test_only_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    assert parse_mailbox("pelé@x.example").needs_smtputf8
    assert not parse_mailbox("a@bücher.example").needs_smtputf8


@given(st.text(max_size=30))
def test_any_text_is_a_mailbox_that_fits_one_line_or_an_error(text: str) -> None:
    try:
        mailbox = parse_mailbox(text)
    except AddressSyntaxError:
        return
    said = str(mailbox)
    assert not set(said) & set(map(chr, [*range(32), 127]))
    assert said.encode("utf-8")
    assert parse_mailbox(said) == mailbox
    assert parse_mailbox(mailbox.in_header).in_header == mailbox.in_header


@given(st.text(st.sampled_from('aB."\\ ß'), max_size=20))
def test_the_compared_spelling_names_the_same_mailbox(local_part: str) -> None:
    try:
        mailbox = parse_mailbox(f"{local_part}@x.example")
    except AddressSyntaxError:
        return
    again = parse_mailbox(mailbox.compared)
    assert again.compared == mailbox.compared
    assert meant(again.local_part) == meant(mailbox.local_part)


@given(st.text(st.sampled_from("abAB09.-_[]:äßσς。%"), max_size=30))
def test_a_domain_that_was_normalised_stays_as_it_is(text: str) -> None:
    try:
        domain = normalise_domain(text)
    except AddressSyntaxError:
        return
    assert domain.isascii()
    assert normalise_domain(domain) == domain
