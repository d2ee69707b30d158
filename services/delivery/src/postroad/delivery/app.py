"""Builds the delivery process from its parts."""

from postroad.delivery.body_room import BodyRoom
from postroad.delivery.context import AttemptContext, WorkerContext
from postroad.delivery.descriptors import Portions, within_descriptors
from postroad.delivery.dispatch.orders import OrderKeeper
from postroad.delivery.dispatch.worker import Worker
from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.router import Router, RouterSettings
from postroad.delivery.settings import DeliverySettings
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.sites.pool import SessionPool
from postroad.dns.resolver import Resolver
from postroad.policy.secrets.seal import Reader
from postroad.process.lifecycle import Process
from postroad.process.own_name import own_name
from postroad.process.tls import check_authorities, read_authorities
from postroad.queue.configuration import Configuration
from postroad.queue.opening import open_keyring, open_queue
from postroad.smtp_client.peer import Timeouts
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import Spool

_BODIES = 4  # times the octets of records in hand


async def build(process: Process, settings: DeliverySettings) -> None:
    """Start the parts; the process is ready when it has the queue and a configuration."""
    ca_file = settings.tls_ca_file or None
    if ca_file is not None:
        check_authorities(ca_file, setting="POSTROAD_TLS_CA_FILE")
    portions = within_descriptors(settings.in_hand)
    read_authorities(ca_file)
    keyring = open_keyring(settings.queue)
    spool = await open_queue(process, settings.queue, role="delivery")
    configuration = Configuration(spool, {Reader.DELIVERY: keyring})
    process.spawn("configuration", configuration.run())
    context = _context(process, settings, spool, configuration, ca_file, portions)
    worker = Worker(context)
    process.readiness.add("configuration", lambda: configuration.lack)
    process.readiness.add("queue", lambda: _why_no_queue(spool))
    process.spawn("orders", OrderKeeper(context, obey=worker.obey).run())
    process.spawn("worker", worker.run())
    process.spawn("settled configuration", end_when_overdue(process, worker))
    process.on_drain("worker", lambda: worker.drain(seconds=settings.finish.total_seconds()))


async def end_when_overdue(process: Process, worker: Worker) -> None:
    """End a process that does not settle a configuration for which others wait."""
    await worker.overdue()
    process.stop(exit_code=1)


def _context(
    process: Process,
    settings: DeliverySettings,
    spool: Spool,
    configuration: Configuration,
    ca_file: str | None,
    portions: Portions,
) -> WorkerContext:
    server, name = settings.resolver, own_name(settings.hostname)
    consumer = spool.take(
        pool=settings.queue.pool, room=portions.in_hand, room_bytes=settings.in_hand_bytes
    )
    return WorkerContext(
        spool=spool,
        consumer=consumer,
        configuration=configuration,
        router=Router(
            Resolver((server.host, server.port) if server else None, at_once=portions.questions),
            RouterSettings(
                smtp_port=settings.smtp_port,
                rules=AddressRules(settings.allow_private_mx, settings.egress.walls),
                own_names=frozenset({name}),
            ),
        ),
        attempts=AttemptContext(
            spool=spool,
            consumer=consumer,
            pool=SessionPool(in_all=portions.idle),
            hostname=name,
            timeouts=Timeouts(),
            ca_file=ca_file,
            body_room=BodyRoom(settings.in_hand_bytes * _BODIES),
        ),
        notifier=Notifier(name),
        process=process.name,
        pool=settings.queue.pool,
        in_hand=portions.in_hand,
    )


def _why_no_queue(spool: Spool) -> str | None:
    refusal = spool.refusal()
    # With a full queue, delivery must go on to empty it.
    return str(refusal) if isinstance(refusal, SpoolUnavailable) else None
