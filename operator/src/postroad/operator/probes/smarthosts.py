"""
Tries the smarthosts of Relays: connect, wait for the greeting, send QUIT. One background task.

There are only a few tries a minute for the whole cluster, no more than a monitor would make. A
status never quotes the server: a user who may write a Relay must not be able to read the banners of
servers that only the operator can reach. It does not connect to denied networks, as delivery does
not: else the status would tell who is there.

A host that says nothing takes ten seconds. So one Relay of each namespace is tried at a time,
beside those of others, and its hosts together.
"""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from postroad.operator.probes.schedule import PeriodicQueue
from postroad.operator.status.conditions import Judgement, Truth, Type
from postroad.policy.model import ObjectKey, Relay, Smarthost
from postroad.policy.walls import EVERYWHERE, DeniedNetworks
from postroad.process.descriptors import LACKS, is_own_lack

EVERY = timedelta(minutes=10)
PAUSE = timedelta(seconds=10)  # between the beginnings of two
_PATIENCE = 10.0  # seconds for one host
_HOSTS = 3  # of one Relay
_BUSY = "Busy"
_NOT_TRIED = "NotTried"
_NO_DESCRIPTOR = "not all smarthosts can be tried: the operator has no file descriptors left"
_NOT_NOW = re.compile(rb"4[0-9][0-9](?:[ -]|\r?\n)")

AddressOf = Callable[[str], Awaitable[str]]


async def as_named(host: str) -> str:
    """Return the host's name itself: the system resolves it when it connects."""
    return host


class SmarthostProbe:
    """
    The result for each Relay that was tried in this run; each is tried once in `every`.

    `address_of` finds a host's address in the same way as delivery; OSError if it has none.
    """

    def __init__(
        self,
        relays: Callable[[], Mapping[ObjectKey, Relay]],
        changed: Callable[[], None],
        *,
        address_of: AddressOf = as_named,
        walls: DeniedNetworks = EVERYWHERE,
        every: timedelta = EVERY,
        pause: timedelta = PAUSE,
    ) -> None:
        self.found: dict[ObjectKey, Judgement] = {}
        self._tried: dict[ObjectKey, Relay] = {}
        self._relays = relays
        self._changed = changed
        self._address_of = address_of
        self._walls = walls
        self._pause = pause.total_seconds()
        self._round: PeriodicQueue[ObjectKey] = PeriodicQueue(every, random.random)
        self._under_way: set[str] = set()  # namespaces with a try

    async def run(self) -> None:
        """Try the Relays that are due, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                relays = self._with_smarthosts()
                for key in [key for key in self.found if self._tried[key] != relays.get(key)]:
                    # The egress path has changed, or is gone: the old result does not apply.
                    del self.found[key], self._tried[key]
                    self._round.forget(key)
                for key in self._round.due(
                    relays.keys(),
                    loop.time(),
                    most=1,
                    admits=lambda key: key.namespace not in self._under_way,
                ):
                    self._under_way.add(key.namespace)
                    group.create_task(self._try(key, relays[key]))
                await asyncio.sleep(self._pause)

    def _with_smarthosts(self) -> Mapping[ObjectKey, Relay]:
        return {key: relay for key, relay in self._relays().items() if not relay.egress_path.by_mx}

    async def _try(self, key: ObjectKey, relay: Relay) -> None:
        try:
            found = await try_relay(relay, self._address_of, self._walls)
        finally:
            self._under_way.discard(key.namespace)
        self.found[key], self._tried[key] = found, relay
        self._changed()


async def try_relay(
    relay: Relay, address_of: AddressOf = as_named, walls: DeniedNetworks = EVERYWHERE
) -> Judgement:
    """
    Return whether at least one of a Relay's smarthosts answers.

    One that greets with 4yz does: it may allow no more connections than delivery has open.
    """
    way = relay.egress_path
    hosts = sorted(way.smarthosts, key=lambda host: host.priority)[:_HOSTS]
    troubles = await asyncio.gather(
        *(_try(host, address_of, walls, implicit_tls=way.implicit_tls) for host in hosts)
    )
    if any(reason == "" for reason, _ in troubles):
        message = "a smarthost greets"
        return Judgement(Type.REACHABLE, Truth.TRUE, "Greeted", message)
    busy = next((message for reason, message in troubles if reason == _BUSY), None)
    if busy is not None:
        return Judgement(Type.REACHABLE, Truth.TRUE, _BUSY, busy)
    reason, message = troubles[0]
    if any(reason == _NOT_TRIED for reason, _ in troubles):
        return Judgement(Type.REACHABLE, Truth.UNKNOWN, _NOT_TRIED, _NO_DESCRIPTOR)
    return Judgement(Type.REACHABLE, Truth.FALSE, reason, message)


async def _try(
    host: Smarthost, address_of: AddressOf, walls: DeniedNetworks, *, implicit_tls: bool
) -> tuple[str, str]:
    """Return a reason and a sentence, or two empty texts if the host greets."""
    where = f"{host.host}:{host.port}"
    try:
        async with asyncio.timeout(_PATIENCE):
            addresses = await _addresses(await address_of(host.host), host.port)
            admitted = [each for each in addresses if walls.admits(each)]
            if not admitted:
                return "NotAllowed", f"{where} is on an address that mail may not be sent to"
            tls = _any_certificate() if implicit_tls else None
            return await _greeting(host, admitted, tls)
    except TimeoutError:
        return "NoAnswer", f"{where} does not answer"
    except ConnectionRefusedError:
        return "ConnectionRefused", f"{where} refuses connections"
    except ssl.SSLError:
        return "TlsFailed", f"{where} does not speak TLS"
    except (OSError, ValueError) as error:  # ValueError: no name that the DNS could have
        if is_own_lack(error):
            LACKS.tell(error)
            return _NOT_TRIED, ""
        return "ConnectionFailed", f"{where} cannot be connected to: {type(error).__name__}"


async def _addresses(name: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def _greeting(
    host: Smarthost, addresses: Sequence[str], tls: ssl.SSLContext | None
) -> tuple[str, str]:
    where = f"{host.host}:{host.port}"
    reader, writer = await _connected(host, addresses, tls)
    try:
        try:
            line = await reader.readline()
        except ValueError:
            line = b""  # no end within 2048 octets: no greeting
        if _NOT_NOW.match(line):  # it is there, and busy, perhaps with our own mail
            return _BUSY, f"{where} answers, but takes no connection for now (4yz)"
        if not line.startswith(b"220"):
            return "NotGreeted", f"{where} takes connections and does not greet with 220"
        writer.write(b"QUIT\r\n")
        await writer.drain()
        with suppress(OSError, ValueError):
            await reader.readline()
        return "", ""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connected(
    host: Smarthost, addresses: Sequence[str], tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that takes the connection."""
    name = host.host if tls is not None else None
    *others, last = addresses
    for address in others:
        with suppress(OSError):
            return await asyncio.open_connection(
                address, host.port, ssl=tls, server_hostname=name, limit=2048
            )
    return await asyncio.open_connection(last, host.port, ssl=tls, server_hostname=name, limit=2048)


def _any_certificate() -> ssl.SSLContext:
    # Delivery checks the certificate; this probe only checks that the host answers.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
