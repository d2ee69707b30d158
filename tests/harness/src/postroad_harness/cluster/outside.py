"""
The network place outside the cluster that mail comes from and is delivered to.

It is this machine itself, or a network namespace with a link to the bridge of the nodes; the
namespace then also routes as a load balancer would. One thread lives in the namespace and opens all
sockets there. A socket stays in the namespace where it was opened, so all other code is as usual.
"""

import asyncio
import ctypes
import json
import os
import random
import socket as sockets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path

from postroad_harness.cluster.kube import run

NAMESPACE = "postroad-e2e"
_LINK = "pr-e2e"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_FIRST_MARK = 100


@dataclass(frozen=True, slots=True)
class Way:
    """A way to a Service from outside: the address to connect to, and the node that routes it."""

    host: str
    port: int
    mark: int = 0


@dataclass
class Place:
    """The place of the client and the far end."""

    address: str
    namespace: str | None = None
    marks: dict[str, int] = field(default_factory=dict)  # node address: mark of its route
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @property
    def network(self) -> str:
        """The place as a network of one address."""
        return f"{self.address}/32"

    async def enter(self) -> None:
        """Enter the namespace: all later sockets are opened there."""
        assert self.namespace is not None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _enter, self.namespace)

    async def socket(self, kind: int = sockets.SOCK_STREAM) -> sockets.socket:
        """Open a socket that does not block."""
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._thread, sockets.socket, sockets.AF_INET, kind)
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread opens it all the same.
            opening.add_done_callback(lambda opening: opening.result().close())
            raise
        opened.setblocking(False)
        return opened

    async def listen(self, port: int) -> sockets.socket:
        """Open a listening socket on the place's address."""
        listener = await self.socket()
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listener.bind((self.address, port))
        listener.listen(512)
        return listener

    async def connect(
        self, way: Way, *, seconds: float = 3
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection; OSError, of which TimeoutError is one, when there is none in time."""
        opened = await self.socket()
        try:
            if way.mark:
                opened.setsockopt(sockets.SOL_SOCKET, sockets.SO_MARK, way.mark)
            async with asyncio.timeout(seconds):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(opened, (way.host, way.port))
            return await asyncio.open_connection(sock=opened)
        except BaseException:
            opened.close()
            raise

    async def close(self) -> None:
        """Remove the namespace and its link."""
        self._thread.shutdown()
        if self.namespace is not None:
            await _remove(self.namespace, self.address)


async def open_place(nodes: Sequence[str]) -> Place:
    """
    Open the place that $POSTROAD_E2E_BRIDGE and $POSTROAD_E2E_ADDRESS say, else this machine.

    `nodes` are the addresses of the cluster's nodes.
    """
    bridge, address = (os.environ.get(f"POSTROAD_E2E_{name}") for name in ("BRIDGE", "ADDRESS"))
    if not bridge or not address:
        return Place(address or _own_address(nodes[0]))
    await _remove(NAMESPACE, str(ip_interface(address).ip))
    shown = json.loads((await run("ip", "-json", "-4", "addr", "show", "dev", bridge)).out)
    gateway = shown[0]["addr_info"][0]["local"]
    await run("ip", "netns", "add", NAMESPACE)
    await run(*f"ip link add {_LINK} type veth peer name eth0 netns {NAMESPACE}".split())
    await run("ip", "link", "set", _LINK, "master", bridge, "up")
    marks = {node: _FIRST_MARK + number for number, node in enumerate(nodes)}
    steps = [f"addr add {address} dev eth0", "link set lo up", "link set eth0 up"]
    steps.append(f"route add default via {gateway}")
    for node, mark in marks.items():
        steps += [f"rule add fwmark {mark} table {mark}", f"route add default via {node}"]
        steps[-1] += f" table {mark}"
    for step in steps:
        await run("ip", "-netns", NAMESPACE, *step.split())
    for rule in _untracked(str(ip_interface(address).ip)):
        await run("iptables", "-w", "-t", "raw", "-I", *rule)
    place = Place(str(ip_interface(address).ip), NAMESPACE, marks)
    await place.enter()
    return place


def _own_address(node: str) -> str:
    """Return the address that this machine has towards a node; nothing is sent."""
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as probe:
        probe.connect((node, 9))
        return str(probe.getsockname()[0])


def _enter(namespace: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open() as opened:
        if library.setns(opened.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")


def _untracked(address: str) -> list[list[str]]:
    """
    Return firewall rules that let the place's packets pass this machine's bridge unchanged.

    If this machine is part of the cluster, it would otherwise route them to pods itself.
    """
    ends = (("-s", address), ("-d", address))
    return [["PREROUTING", *end, "-j", "CT", "--notrack"] for end in ends]


async def _remove(namespace: str, address: str) -> None:
    for rule in _untracked(address):
        await run("iptables", "-w", "-t", "raw", "-D", *rule, check=False)
    await run("ip", "link", "del", _LINK, check=False)
    await run("ip", "netns", "del", namespace, check=False)


class Balancer:
    """
    Chooses the node for each connection, like a load balancer that keeps client addresses.

    Each second it asks the Service's health port on each node whether the node has a pod. Without
    such a port, every node counts as healthy, and a failed connection is tried at the next node.
    """

    def __init__(self, place: Place, ways: dict[str, Way], health_port: int | None) -> None:
        self._place = place
        self._ways = ways
        self._health_port = health_port
        self._healthy = set(ways)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect by any healthy node; OSError when no pod took the connection."""
        node = random.choice(sorted(self._healthy or self._ways))
        return await self._place.connect(self._ways[node])

    async def follow(self) -> None:
        """Check the nodes until cancelled."""
        while self._health_port is not None:
            answers = await asyncio.gather(*(self._is_healthy(node) for node in self._ways))
            self._healthy = {n for n, good in zip(self._ways, answers, strict=True) if good}
            await asyncio.sleep(1)

    async def _is_healthy(self, node: str) -> bool:
        assert self._health_port is not None
        try:
            reader, writer = await self._place.connect(Way(node, self._health_port), seconds=1)
        except OSError:
            return False
        try:
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(1):
                return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.transport.abort()
