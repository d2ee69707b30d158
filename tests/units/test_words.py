"""Sizes and addresses as people write them."""

import pytest

from postroad.units import words as q


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("0", 0),
        ("50MB", 50_000_000),
        ("50M", 50_000_000),
        ("128KiB", 131_072),
        ("10Gi", 10 * 2**30),
        ("1.5kB", 1500),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert q.parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "-1", "1iB", "1 m", "50mb", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        q.parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.example:25", q.SocketAddress("mx.example", 25)),
        ("127.0.0.1:0", q.SocketAddress("127.0.0.1", 0)),
        ("[2001:db8::1]:465", q.SocketAddress("2001:db8::1", 465)),
    ],
)
def test_addresses_are_read_and_written(text: str, expected: q.SocketAddress) -> None:
    assert q.parse_socket_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":25", "::1:25", "[mx]:25", "h:65536", "h:-1", "h:²", "h: 25"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|HOST:PORT"):
        q.parse_socket_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:25", q.ListenAddress("0.0.0.0", 25)),
        (":25", q.ListenAddress("::", 25)),
        ("localhost:2525", q.ListenAddress("127.0.0.1", 2525)),
        ("fd:3", q.ListenAddress(fd=3)),
    ],
)
def test_listen_addresses(text: str, expected: q.ListenAddress) -> None:
    assert q.parse_listen_address(text) == expected


@pytest.mark.parametrize("text", ["mail.example:25", "fd:x", "fd:", "25"])
def test_what_is_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"names a host|fd:N|HOST:PORT"):
        q.parse_listen_address(text)


def test_a_secret_is_shown_by_nothing() -> None:
    secret = q.Secret("t0ps3cret")
    assert "t0ps3cret" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "t0ps3cret"


@pytest.mark.parametrize(
    ("text", "read"),
    [("192.0.2.1", "192.0.2.1:53"), ("[::1]", "[::1]:53"), ("[::1]:5353", "[::1]:5353")],
)
def test_name_servers(text: str, read: str) -> None:
    assert str(q.parse_name_server(text)) == read


@pytest.mark.parametrize("text", ["dns.example", "dns.example:53", "localhost", "", "::1"])
def test_a_name_server_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"IP address|brackets|HOST:PORT"):
        q.parse_name_server(text)
