"""
Parses the header of the PROXY protocol, versions 1 and 2, without I/O.

A load balancer sends it before the client's first octet, to tell the client's address. The parser
is strict: any deviation is an error, because a client that could forge a header could claim any
address. The TLVs after the addresses of version 2 are ignored.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import ipaddress
import struct
from dataclasses import dataclass

from postroad.mail.ip_address import Address, unmapped

LONGEST = 4096  # octets: the TLVs may hold a client's certificate of one or two KiB
_LONGEST_V1 = 107

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16  # octets before the addresses
_LOCAL, _PROXY = 0x20, 0x21  # the upper four bits are the version, 2
_UNSPECIFIED, _UNIX = 0x0, 0x3  # address families without an IP address
_STREAM = 0x1

_FAMILIES: dict[bytes, type[Address]] = {
    b"TCP4": ipaddress.IPv4Address,
    b"TCP6": ipaddress.IPv6Address,
}


class MalformedHeader(Exception):
    """A connection does not begin with a valid PROXY header; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    A header of `length` octets.

    `client` is the client's address and port. It is None when the connection is the balancer's own
    (LOCAL, as in a health check), and when the client has no IP address (UNKNOWN).
    """

    length: int
    client: tuple[Address, int] | None


def read_header(octets: bytes) -> ProxyHeader | None:
    """
    Return the header at the beginning of `octets`, None while it is incomplete.

    Raises MalformedHeader.
    """
    if octets.startswith(_V2):
        return _read_v2(octets)
    if octets.startswith(_V1):
        return _read_v1(octets)
    if _V2.startswith(octets) or _V1.startswith(octets):
        return None
    raise MalformedHeader("there is no header")


def _read_v1(octets: bytes) -> ProxyHeader | None:
    end = octets.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(octets) >= _LONGEST_V1:
            raise MalformedHeader("the line does not end")
        return None
    words = octets[len(_V1) : end].split(b" ")
    if words[0] == b"UNKNOWN":
        return ProxyHeader(end + 2, None)  # the rest of the line must be ignored
    family = _FAMILIES.get(words[0])
    if family is None or len(words) != 5:
        raise MalformedHeader("the line is not one of TCP4, TCP6 or UNKNOWN")
    client = _v1_address(words[1], family), _v1_port(words[3])
    _v1_address(words[2], family)
    _v1_port(words[4])
    return ProxyHeader(end + 2, client)


def _v1_address(word: bytes, family: type[Address]) -> Address:
    try:
        text = word.decode("ascii")
        if "%" in text:
            raise ValueError("an address with a zone")
        return unmapped(family(text))
    except ValueError as error:
        raise MalformedHeader("an address cannot be read") from error


def _v1_port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0"):
        raise MalformedHeader("a port cannot be read")
    if (port := int(word)) > 65535:
        raise MalformedHeader("a port cannot be read")
    return port


def _read_v2(octets: bytes) -> ProxyHeader | None:
    if len(octets) < _V2_FIXED:
        return None
    command, family, size = struct.unpack_from("!BBH", octets, len(_V2))
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader("neither LOCAL nor PROXY of version 2")
    length = _V2_FIXED + size
    if length > LONGEST:
        raise MalformedHeader(f"{length} octets are too many")
    if len(octets) < length:
        return None
    if command == _LOCAL or family >> 4 in (_UNSPECIFIED, _UNIX):
        return ProxyHeader(length, None)
    return ProxyHeader(length, _v2_client(family, octets[_V2_FIXED:length]))


def _v2_client(family: int, addresses: bytes) -> tuple[Address, int]:
    try:
        if family == 0x10 | _STREAM:
            packed, port = struct.unpack_from("!4s4xH2x", addresses)
            return ipaddress.IPv4Address(packed), port
        if family == 0x20 | _STREAM:
            packed, port = struct.unpack_from("!16s16xH2x", addresses)
            return unmapped(ipaddress.IPv6Address(packed)), port
    except struct.error as error:
        raise MalformedHeader("too short for its addresses") from error
    raise MalformedHeader("not a TCP connection")
