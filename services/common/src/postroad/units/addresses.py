"""
Parsers for addresses: sockets to listen on and to connect to, host names, networks.

Each parser takes a text and returns a value, or raises ValueError with a sentence that quotes the
text and shows a valid example.
"""

import ipaddress
from dataclasses import dataclass
from typing import NewType

from postroad.mail.address import host_name
from postroad.mail.errors import AddressSyntaxError
from postroad.mail.ip_address import Network, unmapped_network

HostName = NewType("HostName", str)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A host (name or IP address, without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


NameServer = NewType("NameServer", SocketAddress)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: an IP address and port, or a socket inherited as descriptor `fd`."""

    host: str = ""
    port: int = 0
    fd: int | None = None

    def __str__(self) -> str:
        return f"fd:{self.fd}" if self.fd is not None else str(SocketAddress(self.host, self.port))


def parse_socket_address(text: str) -> SocketAddress:
    """Read HOST:PORT; an IPv6 address must be in brackets."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, ipaddress.IPv6Address):
            raise ValueError(f"{text!r} has no IPv6 address in its brackets")
    elif ":" in host:
        raise ValueError(f"{text!r} has an IPv6 address without brackets, as in [::1]:25")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:2525 or [::1]:2525")
    return SocketAddress(host, int(port))


def parse_listen_address(text: str) -> ListenAddress:
    """Read ADDR:PORT or `fd:N`; `:2525` means every address. ADDR is never a name."""
    kind, _, number = text.partition(":")
    if kind == "fd":
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"{text!r} is not fd:N with the number of an inherited socket")
        return ListenAddress(fd=int(number))
    address = parse_socket_address(f"[::]{text}" if text.startswith(":") else text)
    if address.host != "localhost" and not _is_ip(address.host):
        raise ValueError(f"{text!r} names a host; listen on an IP address")
    host = "127.0.0.1" if address.host == "localhost" else address.host
    return ListenAddress(host, address.port)


def parse_host_name(text: str) -> HostName:
    """Read a host's name; the value is in lower-case A-labels, without a final dot."""
    try:
        return HostName(host_name(text))
    except AddressSyntaxError as error:
        raise ValueError(f"{text!r} is not a host name such as mail.example.com: {error}") from None


def parse_name_server(text: str) -> NameServer:
    """Read ADDR or ADDR:PORT of a DNS server, port 53 when it is left out. ADDR is never a name."""
    bare = text.endswith("]") or ":" not in text
    address = parse_socket_address(f"{text}:53" if bare else text)
    if not _is_ip(address.host):
        raise ValueError(f"{text!r} names a host; give the DNS server's IP address")
    if not address.port:
        raise ValueError(f"{text!r} has port 0, where nobody listens")
    return NameServer(address)


def parse_network(text: str) -> Network:
    """Read a network in CIDR notation, or a single IP address."""
    try:
        return unmapped_network(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network such as 192.0.2.0/24 or 2001:db8::/32"
        ) from None


def _is_ip(text: str, of: type[ipaddress.IPv6Address] | None = None) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return of is None or isinstance(address, of)
