"""
Whether a nats-server should go on running: the liveness probe of the chart's NATS pods.

A server that could not write keeps its stream frozen until it is restarted, and so does one whose
stream has lost what follows its replicas, as was seen after a SIGKILL. Only the whole of /healthz
tells of either. But that page is also bad while a server catches up with the others or a
stream has no leader, when a restart would make things worse. So the page's words decide, not its
status. A server that does not answer at all is not alive; one that only leaves this page unanswered
waits for its disk, which a restart does not make faster. Nor is a server restarted while its disk
is full: it could not write then, either, and may remove a stream whose files it cannot write.

It stands beside the server's disk, so it tells the other processes how much of that is free, too:
ingress refuses mail by it while the queue can still be emptied. Failing to tell fails no probe.

It runs in an image without Postroad: it needs Python's standard library and nothing else.
"""

import contextlib
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

_TIMEOUT = 4.0  # seconds for the page
_SHORT_TIMEOUT = 2.0  # seconds for what needs no disk
_REPORT_LASTS = 60  # seconds
_ROOM_TO_START = 16 * 1024 * 1024  # octets: what a server writes as it reads a large queue
# What does not mend by itself. The last two are also said for a moment while a stream begins. A
# server that has lost consumers names one of them at a time, with either sentence.
_CANNOT_WRITE = "write error"
_FOR_GOOD = (
    _CANNOT_WRITE,
    "monitor goroutine not running",
    "consumer assignment error: stream not found",
)


def why_restart(url: str) -> str | None:
    """Return why the server whose health page this is should be restarted, None if not."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT):  # noqa: S310 - a URL of the chart's
            return None
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")
        return said if any(words in said for words in _FOR_GOOD) else None
    except OSError as error:
        return None if _answers_by_itself(url) else f"no answer: {error}"


def _answers_by_itself(url: str) -> bool:
    """Whether the server says anything at all when it is not asked about its streams."""
    try:
        urllib.request.urlopen(f"{url}?js-server-only=true", timeout=_SHORT_TIMEOUT).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def free_space(folder: str) -> int:
    """Return the free octets of a folder's file system; OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def waits_for_room(reason: str, folder: str) -> bool:
    """Whether a server is to be restarted for a failed write while its disk is still full."""
    try:
        return _CANNOT_WRITE in reason and free_space(folder) < _ROOM_TO_START
    except OSError:
        return False


def tell_free_space(address: str, folder: str, authorities: str | None = None) -> None:
    """
    Publish how many octets are free where the server keeps its files; OSError.

    With a file of authorities the server speaks TLS, from the first octet on.
    """
    report = json.dumps({"free": free_space(folder)}).encode()
    header = f"NATS/1.0\r\nNats-TTL: {_REPORT_LASTS}\r\n\r\n".encode()
    subject = f"$KV.presence.disk.{os.environ['POD_NAME']}"
    login = {
        "user": "operator",
        "pass": Path(os.environ["WRITTEN_TO"], "OPERATOR_PASSWORD").read_text(),
    }
    options = {"verbose": False, "pedantic": False, "headers": True, "name": "alive", **login}
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:
        plain = socket.create_connection((host, int(port)), timeout=_SHORT_TIMEOUT)
        connection = stack.enter_context(plain)
        if authorities is not None:
            context = ssl.create_default_context(cafile=authorities)
            connection = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
        heard = connection.makefile("rb")
        heard.readline()  # what the server says of itself
        sizes = f"{len(header)} {len(header) + len(report)}"
        connection.sendall(
            f"CONNECT {json.dumps(options)}\r\nHPUB {subject} {sizes}\r\n".encode()
            + header
            + report
            + b"\r\nPING\r\n"
        )
        while (line := heard.readline()) != b"PONG\r\n":
            if not line or line.startswith(b"-ERR"):
                raise OSError(f"the report was not taken: {line.decode(errors='replace')}")


def main() -> int:
    """
    Look at the page named first; 0 when the server may go on.

    With the server's address and its folder named as well, and its authorities if it speaks TLS,
    heed and tell how much is free there.
    """
    reason = why_restart(sys.argv[1])
    if reason is not None and len(sys.argv) > 3 and waits_for_room(reason, sys.argv[3]):
        reason = None
    if reason is None and len(sys.argv) > 3:
        try:
            tell_free_space(*sys.argv[2:5])
        except (OSError, KeyError, ValueError) as error:
            print(f"free space was not told: {error}", file=sys.stderr)
    if reason is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
