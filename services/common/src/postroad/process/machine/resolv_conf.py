"""
The name servers of this machine: resolv.conf(5) as it is now.

The file changes while a process runs: with the network, with a VPN, when DHCP comes late. So it is
followed, as glibc does. As there, a file that names no server, or no file, means a server on this
machine: many processes never ask the DNS, and need not fail for it.
"""

import ipaddress
from pathlib import Path

from postroad.process.descriptors import is_own_lack

_FILE = Path("/etc/resolv.conf")
_LOOK_EVERY = 2.0  # seconds
_NO_SERVER = "nameserver 127.0.0.1"


class ResolvConf:
    """One resolv.conf. `port` is where its servers listen."""

    def __init__(self, path: Path = _FILE, port: int = 53) -> None:
        self.port = port
        self._path = path
        self._looked_at = float("-inf")
        self._version: tuple[int, ...] | None = None
        self._lines = _NO_SERVER

    def lines(self, now: float) -> str:
        """
        Return the lines that name servers and options; `now` is of time.monotonic.

        There is always a server. Servers without an IP address are left out.
        """
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            version = self._version_now()
            if version != self._version and (text := self._text()) is not None:
                self._version = version
                self._lines = _usable(text)
        return self._lines

    def _version_now(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size

    def _text(self) -> str | None:
        """Return the text, None if it cannot be known now for want of a file descriptor."""
        try:
            return self._path.read_text("utf-8", "replace")
        except OSError as error:
            return None if is_own_lack(error) else ""


def _usable(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith(("#", ";"))]
    servers = [line for line in lines if _names_a_server(line)] or [_NO_SERVER]
    options = [line for line in lines if line.split()[:1] == ["options"]]
    return "\n".join(servers + options)


def _names_a_server(line: str) -> bool:
    word, address, *_ = [*line.split(), "", ""]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return word == "nameserver"
