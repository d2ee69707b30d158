"""
Puts the operator together: it stands by until it gets the Lease, then leads until it loses it.

A process that stands by is ready. So a rolling update first waits for the new process and then ends
the leading one, which gives up the Lease at once. A process that stands by writes nothing but the
Lease, and a leader that loses the Lease ends. So two operators never publish. Both count the
backlog.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from postroad.manifests.compiler.claims import ClaimKey, Claims
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.kinds.domain_grant import DomainGrantSpec
from postroad.manifests.objects import Reference
from postroad.operator import metrics
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.configuration.acknowledgements import Acknowledgements
from postroad.operator.configuration.declared_claims import claims_of, grants_of
from postroad.operator.configuration.proofs import Proofs
from postroad.operator.configuration.publisher import ConfigurationPublisher
from postroad.operator.jetstream.backlog import BacklogCounts
from postroad.operator.jetstream.connection import QueueConnection
from postroad.operator.jetstream.leaders import keep_spread
from postroad.operator.jetstream.provisioning import look_after, provision_by, provision_first
from postroad.operator.jetstream.storage import look_at_storage
from postroad.operator.kubernetes.client import Kube
from postroad.operator.kubernetes.lease import LeaseKeeper
from postroad.operator.kubernetes.watch import NoAccess, Watch, log_in
from postroad.operator.probes.dns import DnsProbe, addresses_by
from postroad.operator.probes.quota_usage import QuotaUsage
from postroad.operator.probes.smarthosts import SmarthostProbe, as_named
from postroad.operator.settings import OperatorSettings
from postroad.operator.status.controller import StatusController
from postroad.operator.status.reconcile import Facts
from postroad.operator.status.writer import StatusWriter
from postroad.policy.model import ObjectKey, Quota, Relay
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.process.errors import StartupError
from postroad.process.lifecycle import Process
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.queue.opening import read_keyring, spool_options
from postroad.spool.interface import Spool
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

_PROOFS_EVERY = timedelta(minutes=1)

log = get_logger(__name__)


async def build(process: Process, settings: OperatorSettings) -> None:
    """Stand by for the Lease; the parts that lead are started once this process has it."""
    keyrings = {
        Reader.INGRESS: read_keyring(settings.ingress_key_file),
        Reader.DELIVERY: read_keyring(settings.delivery_key_file),
    }
    _find_access()
    kube = Kube(log_in)
    process.on_stop("kubernetes", kube.close)
    lease = LeaseKeeper(kube, settings.lease.namespace, settings.lease.name, settings.identity)
    metrics.LEADER.set_function(lambda: int(lease.holding))
    # Given up last, just before the connection closes: until then no other operator may begin.
    process.on_stop("lease", lease.give_up)
    backlog = BacklogCounts(settings.pools, lambda: lease.holding)
    process.pages["backlog"] = backlog.page
    options = spool_options(process, settings.nats, role="operator")
    queue = QueueConnection(options, backlog, settings.queue.layout)
    process.readiness.add("queue", queue.why_away)
    process.readiness.add("shards", queue.why_left_out)
    queue.count_while_standing_by(process)
    process.spawn("leading", _lead(process, settings, keyrings, kube, lease, queue))


def _find_access() -> None:
    """Raise StartupError if there are no credentials for a cluster."""
    try:
        log_in()
    except NoAccess as error:
        raise StartupError(str(error)) from error


async def _lead(
    process: Process,
    settings: OperatorSettings,
    keyrings: Keyrings,
    kube: Kube,
    lease: LeaseKeeper,
    queue: QueueConnection,
) -> None:
    """Wait for the Lease, then lead until it is lost."""
    await lease.acquire()
    process.spawn("lease", _keep(process, lease))
    layout = await provision_first(queue.options, settings.queue)
    spool = await queue.open_to_lead(process)
    capacity = int(settings.queue.capacity) * layout.replicas  # each copy is counted
    process.spawn("provisioning", look_after(partial(provision_by, queue.options, settings.queue)))
    process.spawn("storage", look_at_storage(queue.options, capacity=capacity))
    if layout.replicas > 1:
        process.spawn("leaders", keep_spread(queue.options, layout))
    leader = Leader(settings, keyrings, kube, spool, layout)
    lease.on_contact = leader.list_soon
    await leader.start(process)


async def _keep(process: Process, lease: LeaseKeeper) -> None:
    await lease.keep()
    log.error("the Lease is lost, the process ends")
    process.stop(exit_code=1)


class Leader:
    """The parts of an operator that leads, and the calls between them."""

    def __init__(
        self,
        settings: OperatorSettings,
        keyrings: Keyrings,
        kube: Kube,
        spool: Spool,
        layout: Layout,
    ) -> None:
        self._settings = settings
        self._store = Store()
        self._statuses = StatusWriter(kube, self._store, instance=settings.identity)
        self._informer = Informer(
            kube,
            self._store,
            namespaces=settings.followed,
            resync=settings.resync,
            declared=self._declared,
            told=self._told,
        )
        self._publisher = ConfigurationPublisher(
            *(self._store, self._informer, spool, keyrings, self._published),
            claims=self._claims,
            replicated=layout if layout.replicas > 1 else None,
            pools=settings.pools,
        )
        self._acknowledgements = Acknowledgements(spool, self._publisher, self._told)
        self._status = StatusController(self._store, self._statuses, self._facts)
        self._dns = DnsProbe(self._claimants, self._dns_told, settings.resolver or ResolvConf())
        self._proofs = Proofs(settings.proving_hostname)
        self._grants: Mapping[ObjectKey, DomainGrantSpec] = {}
        address_of = addresses_by(settings.resolver) if settings.resolver else as_named
        self._reachable = SmarthostProbe(
            self._relays, self._told, address_of=address_of, walls=settings.egress.walls
        )
        self._usage = QuotaUsage(self._quotas, spool.usage, self._told)

    async def start(self, process: Process) -> None:
        """Read what is published, then list what is declared, then start everything else."""
        await self._publisher.read_published()
        self._proofs.remember(self._publisher.published.values(), datetime.now(UTC))
        await self._informer.list_first()
        watch = Watch(self._informer.event, self._settings.followed, self.list_soon)
        process.on_stop("watch", watch.stop)
        watch.start()
        for name, part in (
            ("lists", self._informer.run()),
            ("publisher", self._publisher.run()),
            ("acknowledgements", self._acknowledgements.run()),
            ("judge", self._status.run()),
            ("statuses", self._statuses.run()),
            ("reachable", self._reachable.run()),
            ("usage", self._usage.run()),
            ("proofs", self._keep_proofs()),
        ):
            process.spawn(name, part)
        if self._settings.dns_checks:
            process.spawn("dns", self._dns.run())

    def list_soon(self) -> None:
        """List all objects again: the API server or the watch was interrupted."""
        self._informer.list_soon()

    def _declared(self) -> None:
        self._publisher.wake()

    def _published(self) -> None:
        self._acknowledgements.look()
        self._status.wake()

    def _told(self, reference: Reference | None = None) -> None:
        self._status.wake(reference)

    def _dns_told(self) -> None:
        self._judge_proofs()
        self._told()

    async def _keep_proofs(self) -> None:
        """Judge the proofs now and then: they end with time, too."""
        while True:
            await asyncio.sleep(_PROOFS_EVERY.total_seconds())
            self._judge_proofs()

    def _judge_proofs(self) -> None:
        if self._proofs.look(self._claimants(), self._dns.facts, datetime.now(UTC)):
            self._publisher.wake()

    def _claims(self) -> Claims:
        self._proofs.look(self._claimants(), self._dns.facts, datetime.now(UTC))
        declared = (known.declared for known in self._store.objects.values())
        self._grants = grants_of(declared, self._grants)
        return Claims(
            trusted=self._settings.trusted,
            platform=self._settings.lease.namespace,
            dns=self._proofs.evidence,
            hostname=self._settings.proving_hostname,
            grants=self._grants,
        )

    def _claimants(self) -> frozenset[ClaimKey]:
        declared = (known.declared for known in self._store.objects.values())
        return claims_of(declared, self._publisher.published)

    def _facts(self) -> Facts:
        return Facts(
            compiled=self._publisher.compiled,
            generations=self._publisher.generations,
            serving=self._acknowledgements.serving,
            patient=self._acknowledgements.patient,
            hostname=self._settings.hostname or "",
            dns_checks=self._settings.dns_checks,
            dns=self._dns.facts,
            reachable=self._reachable.found,
            usage=self._usage.lines,
            refusing=self._acknowledgements.refusing,
        )

    @property
    def _compiled(self) -> Compiled:
        return self._publisher.compiled

    def _relays(self) -> dict[ObjectKey, Relay]:
        entries = self._compiled.entries.values()
        return {entry.key: entry for entry in entries if isinstance(entry, Relay)}

    def _quotas(self) -> list[Quota]:
        return [e for e in self._compiled.entries.values() if isinstance(e, Quota)]
