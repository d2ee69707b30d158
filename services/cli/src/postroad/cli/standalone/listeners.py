"""
The listening sockets of `postroad up`, bound before anything else is started.

Each address is first bound without SO_REUSEPORT, which fails if another program listens there. With
SO_REUSEPORT alone, a second relay of the same user would share the port unnoticed. Then `up` opens
one socket with SO_REUSEPORT for each ingress process, and keeps them open (see `supervisor`).
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from postroad.process.sockets import bound_address, listen
from postroad.units.addresses import ListenAddress


@dataclass(frozen=True)
class Listeners:
    """A port's sockets, one for each process, and its address as text."""

    address: str
    sockets: tuple[socket.socket, ...]


def bind(addresses: Mapping[str, ListenAddress], processes: int) -> dict[str, Listeners]:
    """Bind every address for `processes` processes; StartupError names one that is not free."""
    return {name: _bind(address, processes) for name, address in addresses.items()}


def _bind(address: ListenAddress, processes: int) -> Listeners:
    with listen(address) as alone:
        port = alone.getsockname()[1]
        where = bound_address(alone)
    exact = ListenAddress(address.host, port)
    sockets = tuple(listen(exact, reuse_port=True) for _ in range(processes))
    return Listeners(where, sockets)
