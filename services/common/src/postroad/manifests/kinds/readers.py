"""
Parses the texts of manifest fields into values.

Each function raises ValueError with a text that says what to write instead.
"""

import ipaddress

from postroad.mail.address import MAX_LOCAL_PART, host_name, is_number, normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.mail.ip_address import Network, unmapped, unmapped_network
from postroad.policy.model import Rate
from postroad.units.quantities import parse_quantity, parse_rate


def shown(value: object) -> str:
    """Return a value in the form for error messages: as in YAML, and cut if it is long."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_size(value: object) -> int:
    """Read a size in octets: a whole number, or one with a unit (`10Gi`)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a size such as 10Gi, not {shown(value)}")
    return parse_quantity(value)


def read_rate(text: str) -> Rate:
    """Read a rate such as `1000/1m`."""
    return Rate(*parse_rate(text))


def read_domain(text: str) -> str:
    """Read a domain name (never an address literal) into lower-case A-labels."""
    try:
        domain = normalise_domain(text)
    except AddressSyntaxError as error:
        raise ValueError(f"{shown(text)} is not a domain name: {error}") from None
    if domain.startswith("["):
        raise ValueError(f"{shown(text)} is an address literal; write a domain name")
    if is_number(domain):
        raise ValueError(f"{shown(text)} ends in a number, as no domain name does")
    return domain


def read_host_name(text: str) -> str:
    """Read a host name for EHLO: a domain name without underscores."""
    domain = read_domain(text)
    try:
        return host_name(domain)
    except AddressSyntaxError as error:
        raise ValueError(f"{shown(text)} is not a host name: {error}") from None


def read_domain_pattern(text: str) -> str:
    """Read a domain name, `*.example.com` or `*`."""
    if text == "*":
        return text
    if text.startswith("*."):
        return f"*.{read_domain(text[2:])}"
    if "*" in text:
        raise ValueError(
            f"{shown(text)} has a * inside; write example.com, *.example.com or * alone"
        )
    return read_domain(text)


def read_address_pattern(text: str) -> str:
    """Read `info@example.com`, `*@example.com` or `*`; the domain may be a pattern."""
    if text == "*":
        return text
    local_part, at, domain = text.rpartition("@")
    if not at or not local_part:
        raise ValueError(
            f"{shown(text)} is not an address pattern; write info@example.com, *@example.com or *"
        )
    if "*" in local_part and local_part != "*":
        raise ValueError(f"{shown(text)} has a * in a longer local part; * stands alone before @")
    too_long = len(local_part.encode()) > MAX_LOCAL_PART
    if too_long or any(c.isspace() or not c.isprintable() for c in local_part):
        raise ValueError(f"{shown(text)} has a local part that no address can have")
    return f"{local_part}@{read_domain_pattern(domain)}"


def read_network(text: str) -> Network:
    """Read an address or a network with its prefix length; one of IPv4-mapped addresses is IPv4."""
    try:
        return unmapped_network(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{shown(text)} is not a network; write 10.20.0.0/16, 192.0.2.7 or 2001:db8::/32"
        ) from None
    raise ValueError(f"{shown(text)} has bits set after its prefix; write {meant}")


def read_host(text: str) -> str:
    """Read the name or IP address of a next hop; an IPv6 address may be in brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(unmapped(ipaddress.ip_address(bare)))
    except ValueError:
        pass
    if ":" in bare:
        raise ValueError(f"{shown(text)} is not a host; the port goes into the field port")
    return read_domain(text)


def read_source(text: str) -> str:
    """Read the IP address of one machine; an IPv4-mapped one is IPv4."""
    try:
        address = unmapped(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address; write 192.0.2.10") from None
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError(f"{shown(text)} is not the address of one machine; write 192.0.2.10")
    return str(address)
