"""
Finds the user whose program is at the other end of a connection within this machine.

A loopback port proves nothing, because any local user may listen on a free one. The kernel knows
the owner of each end of such a connection, and lists it in /proc/net/tcp
(Documentation/networking/proc_net_tcp.rst of Linux).
"""

import socket
import sys
from pathlib import Path

KERNEL_TELLS = sys.platform.startswith("linux")

_TABLE = Path("/proc/net/tcp")
_LOOKS = 3  # the kernel writes the table in parts, and a row may get lost between two
_ESTABLISHED = "01"

HostAndPort = tuple[str, int]


def peer_uid(own: HostAndPort, peer: HostAndPort) -> int | None:
    """
    Return the user id of the process that accepted this IPv4 connection.

    `own` and `peer` are the two ends as this side sees them. None when the kernel lists no such
    end: it is on another machine, or closed. OSError when there is no such list.
    """
    for _ in range(_LOOKS):
        if (uid := uid_in(_TABLE.read_text(), own, peer)) is not None:
            return uid
    return None


def uid_in(table: str, own: HostAndPort, peer: HostAndPort) -> int | None:
    """Return the owner of the peer's end from the kernel's table, None when it is not listed."""
    _, found, rest = table.partition(f" {_as_listed(peer)} {_as_listed(own)} ")
    if not found:
        return None
    # State, queues, timer, retransmits, uid, timeout, inode. An end that is not accepted yet, or is
    # closed, has no inode, and its uid means nothing.
    state, _, _, _, uid, _, inode, *_ = rest.partition("\n")[0].split()
    return int(uid) if state == _ESTABLISHED and inode != "0" else None


def _as_listed(end: HostAndPort) -> str:
    address, port = end
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"
