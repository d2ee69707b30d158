"""Puts the ingress process together; the only module that knows all of its parts."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.incoming import AcceptanceTools
from postroad.acceptance.quotas import Quotas
from postroad.ingress import refusal_counts
from postroad.ingress.auth.logins import Logins
from postroad.ingress.auth.sasl import Passwords
from postroad.ingress.listen.certificate import Certificate, self_signed
from postroad.ingress.listen.descriptors import within_descriptors
from postroad.ingress.listen.server import Server
from postroad.ingress.settings import IngressSettings, TlsSettings
from postroad.policy.secrets.seal import Reader
from postroad.process.errors import StartupError
from postroad.process.lifecycle import Process
from postroad.process.own_name import own_name
from postroad.process.sockets import listen
from postroad.process.tls import keep_blocks_apart
from postroad.queue.configuration import Configuration
from postroad.queue.opening import open_keyring, open_queue
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger
from postroad.units.addresses import HostName, ListenAddress

# A client waits 5 minutes for a greeting (RFC 5321 §4.5.3.2.1), a load balancer some seconds.
CONFIGURATION_WAIT = timedelta(seconds=10)

log = get_logger(__name__)


async def build(process: Process, settings: IngressSettings) -> None:
    """Start the parts of an ingress process; ready when it can publish and is configured."""
    keep_blocks_apart()  # before the first connection under TLS
    listeners = _listeners(settings)
    process.on_drain("sockets", listeners.close)
    name = own_name(settings.hostname)
    certificate = _certificate(settings.tls, name)
    process.spawn("certificate", certificate.follow())
    keyring = open_keyring(settings.queue)
    spool = await open_queue(process, settings.queue, role="ingress", packs=settings.packs)
    configuration = Configuration(spool, {Reader.INGRESS: keyring})
    process.spawn("configuration", configuration.run())
    quotas = Quotas(spool.usage)
    process.on_stop("quotas", quotas.close)
    process.spawn("quotas", quotas.run())
    limits = within_descriptors(settings.limit)
    tools = AcceptanceTools(
        spool=spool,
        quotas=quotas,
        limits=limits,
        hostname=name,
        process=process.name,
        count_refusal=refusal_counts.count,
    )
    passwords = Passwords(keyring)
    process.on_stop("passwords", passwords.close)
    process.spawn("lines left out", tools.history.report())
    server = Server(
        tools,
        limits,
        Logins(passwords, tools, limits),
        configuration,
        certificate.context,
        insecure_auth=settings.insecure_auth,
        line_ends=settings.normalise_line_ends,
    )
    process.readiness.add("configuration", lambda: _why_unconfigured(configuration))
    process.readiness.add("queue", lambda: _why_not_accepting(spool))
    await _until_configured(configuration)
    for kind, listener in listeners.direct.items():
        await server.listen(kind, listener)
    for kind, listener in listeners.proxied.items():
        server.listen_proxied(kind, listener, trusted=settings.proxy.trusted or ())
    process.spawn("idle sessions", server.sweep())
    process.on_drain("sessions", lambda: server.drain(seconds=settings.data_drain.total_seconds()))


async def _until_configured(configuration: Configuration) -> None:
    """Wait for a configuration, at most CONFIGURATION_WAIT; connections wait in the sockets."""
    try:
        async with asyncio.timeout(CONFIGURATION_WAIT.total_seconds()):
            await configuration.wait_published()
    except TimeoutError:
        log.warning("no configuration is published, clients are asked to come later")


@dataclass(frozen=True, slots=True)
class _Listeners:
    """The open ports: those for clients, and those for a load balancer."""

    direct: Mapping[ListenerKind, socket.socket]
    proxied: Mapping[ListenerKind, socket.socket]

    async def close(self) -> None:
        """Close those that nothing accepts from yet; the server has closed the others."""
        for listener in (*self.direct.values(), *self.proxied.values()):
            listener.close()


def _listeners(settings: IngressSettings) -> _Listeners:
    said = settings.listen
    direct = {
        ListenerKind.RELAY: said.relay,
        ListenerKind.SUBMISSION: said.submission,
        ListenerKind.SUBMISSIONS: said.submissions,
    }
    proxied = {
        ListenerKind.RELAY: said.relay_proxy,
        ListenerKind.SUBMISSION: said.submission_proxy,
        ListenerKind.SUBMISSIONS: said.submissions_proxy,
    }
    listeners = _Listeners(_opened(direct), _opened(proxied))
    if not listeners.direct and not listeners.proxied:
        raise StartupError(
            "no port to listen on; set POSTROAD_LISTEN_RELAY, POSTROAD_LISTEN_SUBMISSION"
            " or POSTROAD_LISTEN_SUBMISSIONS, or one of them with _PROXY behind its name"
        )
    return listeners


def _opened(
    wanted: Mapping[ListenerKind, ListenAddress | None],
) -> Mapping[ListenerKind, socket.socket]:
    return {kind: listen(address) for kind, address in wanted.items() if address is not None}


def _certificate(settings: TlsSettings, name: HostName) -> Certificate:
    if settings.cert is not None and settings.key is not None:
        return Certificate(settings.cert, settings.key)
    return self_signed(settings.state, name)


def _why_unconfigured(configuration: Configuration) -> str | None:
    # An empty configuration is one, too: a relay may have no objects yet.
    return None if configuration.published else "no configuration is published"


def _why_not_accepting(spool: Spool) -> str | None:
    refusal = spool.refusal()
    return str(refusal) if refusal is not None else None
