"""A recipe of docs/recipes.md at work: its ingress, its queue, and the hosts that it sends to."""

import asyncio
import base64
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.dns.resolver import Resolver
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.dns_server import Zone
from postroad.testing.peers.mx import ScriptedMx, server_tls
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.delivery import delivering
from postroad.testing.processes.ingress import Scene, start_ingress

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
OUTSIDE = "203.0.113.9"


def option(words: list[str], name: str) -> str | None:
    """Return what a command says for an option."""
    return words[words.index(name) + 1] if name in words else None


@dataclass(frozen=True)
class Recipe:
    """A section of the page."""

    text: str

    @classmethod
    def of(cls, name: str) -> "Recipe":
        """Return the section of this name."""
        return cls(PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0])

    @property
    def manifests(self) -> str:
        """The manifests."""
        [found] = self._fenced("yaml")
        return found

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, in order."""
        lines = "\n".join(self._fenced("sh")).replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines if line]

    @property
    def sends(self) -> list[list[str]]:
        """The commands `postroad send`."""
        return [words for words in self.commands if words[:2] == ["postroad", "send"]]

    @property
    def passwords(self) -> dict[str, str]:
        """The passwords by username."""
        return dict(re.findall(r"username: ([\w-]+), password: ([\w-]+)", self.manifests))

    def _fenced(self, kind: str) -> list[str]:
        return re.findall(rf"^```{kind}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)


@dataclass
class World:
    """A recipe at work: its ingress, its queue, and the hosts that it sends to."""

    recipe: Recipe
    scene: Scene
    cluster: MemoryCluster
    zone: Zone
    ca_file: str

    async def replies(self, *, client: str = OUTSIDE) -> list[str]:
        """Send as the page's commands do; return the reply that decided about each message."""
        said = []
        for words in self.recipe.sends:
            user, sender, to = (option(words, name) for name in ("--user", "--from", "--to"))
            peer = await (self.logged_in(user) if user else self.connected(client))
            said.append(await submit(peer, sender or "", to or ""))
        assert all(reply.startswith("250 ") or f"`{reply}`" in self.recipe.text for reply in said)
        return said

    async def connected(self, client: str) -> SmtpPeer:
        """Connect to the port for mail servers, as a client with this address."""
        return await self.scene.peer_from(client, ListenerKind.RELAY)

    async def logged_in(self, user: str) -> SmtpPeer:
        """Connect to the submission port and log in with the page's password."""
        peer = await self.scene.peer(ListenerKind.SUBMISSION)
        await peer.say("EHLO client.example")
        await peer.say("STARTTLS")
        await peer.start_tls(client_context())
        await peer.say("EHLO client.example")
        assert await peer.say(f"AUTH PLAIN {plain(user, self.recipe.passwords[user])}") == (
            "235 2.7.0 authenticated"
        )
        return peer

    @asynccontextmanager
    async def delivery(self, *, room: int = 1000) -> AsyncIterator[None]:
        """Deliver what is queued, until the block ends; `room` is for so many records in hand."""
        spool = MemorySpool(self.cluster)
        resolver = Resolver(self.zone.address)
        async with delivering(spool, resolver=resolver, room=room, ca_file=self.ca_file):
            yield
        await spool.close()


def plain(user: str, password: str) -> str:
    """Return the argument of AUTH PLAIN."""
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


async def submit(peer: SmtpPeer, sender: str, to: str) -> str:
    """Send one message; return the first reply that refused, or that to the final dot."""
    for reply in await peer.envelope(sender, to):
        if not reply.startswith("250 "):
            return reply
    return await peer.message()


@asynccontextmanager
async def world(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    hosts: Mapping[tuple[str, int], ScriptedMx],
    *,
    manifests: str | None = None,
) -> AsyncIterator[World]:
    """Run a recipe in a world of hosts, by name and port; mail for example.net goes to its MX."""
    recipe = Recipe.of(name)
    addresses = {host: f"127.0.1.{number}" for number, (host, _) in enumerate(hosts, 1)}
    table = {host: [f"A {address}"] for host, address in addresses.items()}
    table["example.net"] = ["MX 10 mx.example.net"]
    cluster = MemoryCluster()
    authorities = folder / "authorities.pem"
    authorities.write_text("".join(offer_tls(host, mx, folder) for (host, _), mx in hosts.items()))
    async with AsyncExitStack() as stack:
        for mx in hosts.values():
            await stack.enter_async_context(mx)
        ports = {(addresses[host], port): mx.port for (host, port), mx in hosts.items()}
        lead(ports, monkeypatch)
        zone = await stack.enter_async_context(Zone(table))
        scene = await start_ingress(tls=folder / "tls", cluster=cluster)
        stack.push_async_callback(scene.end)
        await scene.configure(manifests or recipe.manifests, folder)
        yield World(recipe, scene, cluster, zone, str(authorities))


def offer_tls(host: str, mx: ScriptedMx, folder: Path) -> str:
    """Give a host a certificate for its name, and return it."""
    certificate, key = folder / f"{host}.pem", folder / f"{host}.key"
    for path, pem in zip((certificate, key), tls_pair(host, "tests"), strict=True):
        path.write_text(pem)
    mx.tls = server_tls(certificate, key)
    return certificate.read_text()


def lead(ports: Mapping[tuple[str, int], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections to an address and port go to a port of loopback."""
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def create(factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        if (host, port) in ports:
            host, port = "127.0.0.1", ports[host, port]
        return await connect(factory, host, port, **more)

    monkeypatch.setattr(loop, "create_connection", create)
