"""
The configuration of the embedded nats-server of `postroad up`: ports, memory, storage limits.
"""

import contextlib
import errno
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from postroad.spool.jetstream.streams.disk import reserve
from postroad.spool.wire.payload import MAX_PAYLOAD

_LEAST_MEMORY, _MOST_MEMORY = 256 * 1024 * 1024, 1024 * 1024 * 1024
_STORE_SHARE = 0.85  # of the volume: nats-server must refuse before the disk is full
# Octets: what it writes as it reads a new queue, and a large one.
_LEAST_TO_START, _MOST_TO_START = 1024 * 1024, 16 * 1024 * 1024

_CONFIG = """\
server_name: postroad
listen: {listen}
http: {monitor}
max_payload: {max_payload}
write_deadline: "10s"
logfile: {logfile}
logfile_size_limit: 10MB
logfile_max_num: 3
authorization {{ token: {token} }}
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_memory_store: 64MB
  max_file_store: {max_file_store}
}}
"""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the embedded server listens; the ports stay for as long as `up` runs."""

    port: int
    monitor_port: int

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://127.0.0.1:{self.port}"


def server_config(
    address: ServerAddress, *, token: str, logfile: Path, store: Path, capacity: int
) -> str:
    """Return nats-server's configuration; `capacity` is what JetStream may store, in octets."""
    return _CONFIG.format(
        listen=f"127.0.0.1:{address.port}",
        monitor=f"127.0.0.1:{address.monitor_port}",
        max_payload=MAX_PAYLOAD,
        logfile=_quoted(str(logfile)),
        token=_quoted(token),
        store=_quoted(str(store)),
        max_file_store=capacity,
    )


def _quoted(text: str) -> str:
    """Quote a text for nats-server's configuration, whatever octets a path has."""
    plain = (
        chr(o) if 32 <= o < 127 and o not in b'"\\' else f"\\x{o:02x}" for o in os.fsencode(text)
    )
    return f'"{"".join(plain)}"'


def memory_goal(physical: int) -> int:
    """
    Return nats-server's memory limit (GOMEMLIMIT) in octets: a quarter of the machine's, bounded.

    The server's memory grows with the queue. Near the limit, its garbage collector takes much of
    the processor: with 256 MiB and 300,000 queued messages, new mail went at half its rate.
    """
    return min(max(physical // 4, _LEAST_MEMORY), _MOST_MEMORY)


def physical_memory() -> int:
    """Return the machine's memory in octets."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def choose_ports() -> ServerAddress:
    """Return two loopback ports that are free now."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return ServerAddress(first.getsockname()[1], second.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nats-server could listen on this port of loopback now."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nats-server does
        try:
            one.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def room_for_mail(store: Path) -> int:
    """Return the queue's storage limit in octets: a share of the free space and its own files."""
    used = 0
    for file in store.rglob("*"):
        with contextlib.suppress(OSError):  # files come and go while an old server is ending
            used += file.stat().st_size
    # Never less than is stored: JetStream would refuse to open the streams.
    return max(int((shutil.disk_usage(store).free + used) * _STORE_SHARE), used)


def room_to_start(capacity: int) -> int:
    """
    Return the octets that must be free on the disk for a server to be started on a store.

    It is a part of the reserve, so that the queue alone never leaves less.
    """
    return min(max(reserve(capacity) // 4, _LEAST_TO_START), _MOST_TO_START)
