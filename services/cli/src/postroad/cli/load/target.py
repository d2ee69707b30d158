"""
Which servers and recipients a load may use, so that nobody is loaded by accident.

The server must be on this machine or on a private network. The recipients must be in reserved
domains (RFC 2606, RFC 6761), so that a relay that accepts the load cannot pass it on to people.
The flag --permitted lifts both rules. A server's name is resolved once and then its address is
used, so that the check and the load mean the same server.
"""

import ipaddress
import socket

from postroad.cli.errors import CommandError
from postroad.mail.ip_address import unmapped
from postroad.units.addresses import SocketAddress

_RESERVED = (
    *(".example", ".test", ".invalid", ".localhost"),
    *(".example.com", ".example.net", ".example.org"),
)


def permitted_address(server: SocketAddress, *, permitted: bool) -> str:
    """Return the server's IP address; CommandError when a load may not go there."""
    try:
        found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CommandError(f"cannot find {server.host}: {error.strerror or error}") from error
    addresses = [str(each[4][0]) for each in found]
    if not permitted:
        for address in addresses:
            if not _is_near(address):
                raise CommandError(
                    f"{server} is {address}, neither this machine nor a private network;"
                    " --permitted says that you may load it",
                    code=2,
                )
    return addresses[0]


def _is_near(text: str) -> bool:
    address = unmapped(ipaddress.ip_address(text.partition("%")[0]))
    return (address.is_loopback or address.is_private) and not address.is_unspecified


def check_domains(domains: list[str], *, permitted: bool) -> None:
    """Raise CommandError when a recipient's domain may exist."""
    for domain in domains:
        if not permitted and not f".{domain.lower()}".endswith(_RESERVED):
            raise CommandError(
                f"mail to {domain} could reach people: use a domain below .example or .test;"
                " --permitted says that you may send there",
                code=2,
            )
