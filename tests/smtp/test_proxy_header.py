"""PROXY headers: which are accepted, what they mean, and which are malformed."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.server.proxy_header import LONGEST, MalformedHeader, ProxyHeader, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def tcp4(client: str, port: int) -> bytes:
    ends = ipaddress.IPv4Address(client).packed + ipaddress.IPv4Address("192.0.2.25").packed
    return ends + struct.pack("!HH", port, 25)


def tcp6(client: str, port: int) -> bytes:
    ends = ipaddress.IPv6Address(client).packed + ipaddress.IPv6Address("2001:db8::25").packed
    return ends + struct.pack("!HH", port, 25)


TLV = b"\x02\x00\x0arelay.test" + b"\x20\x00\x05\x01\0\0\0\0"

WHOLE = [
    (b"PROXY TCP4 198.51.100.7 192.0.2.25 40000 25\r\n", ("198.51.100.7", 40000)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::25 1 25\r\n", ("2001:db8::7", 1)),
    (b"PROXY TCP6 ::ffff:198.51.100.7 2001:db8::25 1 25\r\n", ("198.51.100.7", 1)),
    (b"PROXY TCP6 64:ff9b::c633:6407 2001:db8::25 1 25\r\n", ("64:ff9b::c633:6407", 1)),
    (v2(0x21, 0x21, tcp6("::ffff:198.51.100.7", 9)), ("198.51.100.7", 9)),
    (b"PROXY TCP4 198.51.100.7 192.0.2.25 0 65535\r\n", ("198.51.100.7", 0)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f::1 ffff::1 65535 65535 more\r\n", None),
    (v2(0x21, 0x11, tcp4("198.51.100.7", 40000)), ("198.51.100.7", 40000)),
    (v2(0x21, 0x11, tcp4("198.51.100.7", 40000) + TLV), ("198.51.100.7", 40000)),
    (v2(0x21, 0x21, tcp6("2001:db8::7", 9)), ("2001:db8::7", 9)),
    (v2(0x21, 0x21, tcp6("2001:db8::7", 9) + TLV), ("2001:db8::7", 9)),
    (v2(0x20, 0x00), None),  # LOCAL
    (v2(0x20, 0x11, tcp4("198.51.100.7", 40000)), None),  # whose addresses do not count
    (v2(0x21, 0x00), None),  # no family
    (v2(0x21, 0x31, b"/run/x".ljust(216, b"\0")), None),  # a UNIX socket
    (v2(0x21, 0x11, tcp4("198.51.100.7", 2) + b"\x24\x03\x84" + b"c" * 900), ("198.51.100.7", 2)),
    (v2(0x21, 0x11, tcp4("198.51.100.7", 1).ljust(LONGEST - 16, b"\0")), ("198.51.100.7", 1)),
]


@pytest.mark.parametrize(("octets", "client"), WHOLE)
def test_a_header_says_who_the_client_is(octets: bytes, client: tuple[str, int] | None) -> None:
    named = (ipaddress.ip_address(client[0]), client[1]) if client else None
    for following in (b"", b"EHLO client.example\r\n", b"\x16\x03\x01", octets):
        assert read_header(octets + following) == ProxyHeader(len(octets), named)
    for end in range(len(octets)):
        assert read_header(octets[:end]) is None


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.example\r\n",
        b"P\r\n",
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4 198.51.100.7 192.0.2.25 40000 25\r\n",
        b"PROXY  TCP4 198.51.100.7 192.0.2.25 40000 25\r\n",
        b"PROXY TCP4 198.51.100.7  192.0.2.25 40000 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 40000 25 \r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 40000\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::25 40000 25\r\n",
        b"PROXY TCP6 198.51.100.7 192.0.2.25 40000 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::25 40000 25\r\n",
        b"PROXY TCP4 198.51.100.07 192.0.2.25 40000 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 65536 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 040 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 -1 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 \xd9\xa3 25\r\n",
        b"PROXY UDP4 198.51.100.7 192.0.2.25 40000 25\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.25 40000 25\n" + b"\r\n",
        b"PROXY UNKNOWN" + b" " * 94,
        v2(0x11, 0x11, tcp4("198.51.100.7", 1)),  # version 1 in version 2's clothes
        v2(0x22, 0x11, tcp4("198.51.100.7", 1)),  # no such command
        v2(0x21, 0x12, tcp4("198.51.100.7", 1)),  # UDP
        v2(0x21, 0x41, tcp4("198.51.100.7", 1)),  # no such family
        v2(0x21, 0x11, b"\0" * 11),
        v2(0x21, 0x21, tcp4("198.51.100.7", 1)),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, LONGEST - 15),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 65535),
    ],
)
def test_anything_else_is_no_header(octets: bytes) -> None:
    with pytest.raises(MalformedHeader):
        read_header(octets)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, v2(0x21, 0x11)]),
    st.binary(max_size=600),
)
def test_whatever_comes_is_read_or_refused_and_never_waited_for_too_long(
    head: bytes, rest: bytes
) -> None:
    octets = head + rest
    try:
        header = read_header(octets)
    except MalformedHeader:
        return
    if header is None:
        assert len(octets) < LONGEST
    else:
        assert 15 <= header.length <= min(len(octets), LONGEST)
        assert read_header(octets[: header.length]) == header
        assert read_header(octets[: header.length - 1]) is None
