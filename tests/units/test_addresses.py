"""Parsing addresses."""

import pytest

from postroad.units import addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.example:25", addresses.SocketAddress("mx.example", 25)),
        ("127.0.0.1:0", addresses.SocketAddress("127.0.0.1", 0)),
        ("[2001:db8::1]:465", addresses.SocketAddress("2001:db8::1", 465)),
    ],
)
def test_addresses_are_read_and_written(text: str, expected: addresses.SocketAddress) -> None:
    assert addresses.parse_socket_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":25", "::1:25", "[mx]:25", "h:65536", "h:-1", "h:²", "h: 25"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|HOST:PORT"):
        addresses.parse_socket_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:25", addresses.ListenAddress("0.0.0.0", 25)),
        (":25", addresses.ListenAddress("::", 25)),
        ("localhost:2525", addresses.ListenAddress("127.0.0.1", 2525)),
        ("fd:3", addresses.ListenAddress(fd=3)),
    ],
)
def test_listen_addresses(text: str, expected: addresses.ListenAddress) -> None:
    assert addresses.parse_listen_address(text) == expected


@pytest.mark.parametrize("text", ["mail.example:25", "fd:x", "fd:", "25"])
def test_what_is_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"names a host|fd:N|HOST:PORT"):
        addresses.parse_listen_address(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [("192.0.2.1", "192.0.2.1:53"), ("[::1]", "[::1]:53"), ("[::1]:5353", "[::1]:5353")],
)
def test_name_servers(text: str, read: str) -> None:
    assert str(addresses.parse_name_server(text)) == read


@pytest.mark.parametrize(
    "text", ["dns.example", "dns.example:53", "localhost", "", "::1", "192.0.2.1:0"]
)
def test_a_name_server_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"IP address|brackets|HOST:PORT|port 0"):
        addresses.parse_name_server(text)
