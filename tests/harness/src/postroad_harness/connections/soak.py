"""
A soak test: HAProxy checks every port of an ingress and passes mail to it, while clients leave.

HAProxy checks five times a second in every form that it has: a plain connection, a PROXY header,
TLS, an SMTP greeting, smtpchk. Meanwhile, connections in every state are ended in every way. All
checks must pass, all mail must be accepted, and no connection may be left at the end (`make soak`).
"""

import argparse
import asyncio
import csv
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from postroad.telemetry import logs
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, Scene, start_ingress
from postroad.testing.streams import hang_up
from postroad_harness.connections.leavers import WAYS, everything, gone
from postroad_harness.ending import run_orderly

# Ten servers in each backend: HAProxy limits a check's handshake to `inter`. With one server and an
# `inter` of 200 ms, checks failed now and then on a busy machine.
_CONFIGURATION = """\
global
  stats socket {stats} mode 600
  log stderr format raw local0
defaults
  log global
  mode tcp
  option log-health-checks
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout check 10s
  default-server inter 2s fall 1 rise 1
frontend mail
  bind fd@{frontend}
  default_backend connection-proxied
backend connection-proxied
  server-template s 10 127.0.0.1:{relay_proxy} send-proxy-v2 check
backend header
  server-template s 10 127.0.0.1:{relay_proxy} send-proxy-v2 check check-send-proxy
backend connection
  server-template s 10 127.0.0.1:{relay} check
backend smtpchk
  option smtpchk EHLO soak.example
  server-template s 10 127.0.0.1:{relay} check
backend smtpchk-proxied
  option smtpchk HELO soak.example
  server-template s 10 127.0.0.1:{submission_proxy} send-proxy-v2 check check-send-proxy
backend greeting
  option tcp-check
  tcp-check connect send-proxy
  tcp-check expect rstring ^220
  server-template s 10 127.0.0.1:{submission_proxy} send-proxy-v2 check
backend tls-connection
  server-template s 10 127.0.0.1:{submissions} check
backend tls-handshake
  server-template s 10 127.0.0.1:{submissions} check check-ssl verify none
backend tls-header
  server-template s 10 127.0.0.1:{submissions_proxy} send-proxy-v2 check check-send-proxy
backend tls-proxied
  default-server send-proxy-v2 check-send-proxy check-ssl verify none
  server-template s 10 127.0.0.1:{submissions_proxy} check
"""


def haproxy() -> str | None:
    """Return the path of HAProxy, None if it is not installed."""
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass
class Soak:
    """The result: accepted messages, clients that left, and the failures of each check."""

    messages: int = 0
    left: int = 0
    failed_checks: dict[str, int] | None = None
    reasons: list[str] = field(default_factory=list)  # of the failures, as HAProxy says them


class Balancer:
    """A running HAProxy in front of an ingress."""

    def __init__(self, stats: Path, frontend: int, told: Path) -> None:
        self._stats = stats
        self._told = told
        self.frontend = frontend

    def reasons(self) -> list[str]:
        """Return what HAProxy said of each check that failed."""
        lines = self._told.read_text(errors="replace").splitlines()
        return [line for line in lines if "ealth check" in line and " failed" in line]

    async def failed_checks(self) -> dict[str, int]:
        """Return how often each backend's check failed; those that are down count as well."""
        reader, writer = await asyncio.open_unix_connection(str(self._stats))
        writer.write(b"show stat\n")
        text = (await reader.read()).decode().removeprefix("# ")
        await hang_up(writer)
        failed: Counter[str] = Counter()
        for row in csv.DictReader(text.splitlines()):
            if row["chkfail"]:
                failed[row["pxname"]] += int(row["chkfail"]) + (not row["status"].startswith("UP"))
        return dict(failed)


@asynccontextmanager
async def balanced(program: str, scene: Scene, folder: Path) -> AsyncIterator[Balancer]:
    """Run HAProxy in front of an ingress."""
    with socket.create_server(("127.0.0.1", 0)) as frontend:
        ports = {kind.value: port for kind, port in scene.ports.items()}
        ports |= {f"{kind.value}_proxy": port for kind, port in scene.proxy_ports.items()}
        stats, configuration = folder / "stats", folder / "haproxy.cfg"
        configuration.write_text(
            _CONFIGURATION.format(stats=stats, frontend=frontend.fileno(), **ports)
        )
        told = folder / "haproxy.log"
        with told.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(program, "-db", "-f", str(configuration)),
                pass_fds=[frontend.fileno()],
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=dies_with_us(),
            )
        try:
            async with asyncio.timeout(patient(10)):
                for _ in itertools.takewhile(lambda _: not stats.exists(), itertools.count()):
                    await asyncio.sleep(0.05)
            yield Balancer(stats, frontend.getsockname()[1], told)
        finally:
            process.kill()
            await process.wait()


async def _send_mail(port: int, result: Soak, until: float) -> None:
    while asyncio.get_running_loop().time() < until:
        peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", port))
        try:
            assert (await peer.reply()).startswith("220 ")
            await peer.envelope("me@near.example", "you@far.example")
            assert (await peer.message()).startswith("250 ")
            result.messages += 1
            await peer.say("QUIT")
        finally:
            await hang_up(peer.writer)
        await asyncio.sleep(0.02)


async def _leave(scene: Scene, result: Soak, until: float) -> None:
    for way, (state, port) in itertools.cycle(itertools.product(WAYS.values(), everything())):
        if asyncio.get_running_loop().time() > until:
            return
        way(await state(scene, port))
        result.left += 1
        await asyncio.sleep(0.02)


async def soak(program: str, *, seconds: float, folder: Path) -> Soak:
    """Soak an ingress for this time; return the result when no connection is left."""
    scene = await start_ingress(
        tls=folder / "tls",
        insecure_auth=True,
        idle=timedelta(seconds=10),
        inline_size=1024,
        junk_commands=10**9,
        connections_per_address=1000,
    )
    await scene.configure(MANIFESTS, folder)
    before, result = asyncio.all_tasks(), Soak()
    async with balanced(program, scene, folder) as balancer:
        until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as working:
            working.create_task(_send_mail(balancer.frontend, result, until))
            working.create_task(_leave(scene, result, until))
        result.failed_checks = await balancer.failed_checks()
        result.reasons = balancer.reasons()
    for peer in scene.peers:
        peer.writer.transport.abort()  # those that stayed
    await gone(scene, before)
    await scene.end()
    return result


def main() -> None:
    """Soak from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    seconds = parser.parse_args().seconds
    program = haproxy()
    if program is None:
        raise SystemExit("HAProxy is not installed; on Debian and Ubuntu: apt-get install haproxy")
    logs.configure("ingress", level=logs.LogLevel.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        result = run_orderly(soak(program, seconds=seconds, folder=Path(folder)))
    print(f"{result.messages} messages accepted, {result.left} clients left")
    for check, failures in (result.failed_checks or {}).items():
        print(f"{check}: {failures} checks failed")
    print(*result.reasons, sep="\n")
    if not result.messages or any((result.failed_checks or {"none": 1}).values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
