"""
The operator, put together: it stands by until the Lease is its own, then leads until it is lost.

A process that stands by is ready: a rolling update waits for it, and only then ends the one that
leads, which gives the Lease up at once. Nothing but the Lease is touched before, and the process
ends with the Lease, so that two never publish.
"""

import asyncio

from postroad.operator import metrics
from postroad.operator.acknowledgements import Acknowledgements
from postroad.operator.backlog import BacklogCounts, standby_page
from postroad.operator.handlers import NoAccess, Watch, log_in
from postroad.operator.judge import Judge
from postroad.operator.kube import Kube
from postroad.operator.lease import LeaseKeeper
from postroad.operator.picture import Picture
from postroad.operator.provisioning import look_after, provision_first
from postroad.operator.publisher import Publisher
from postroad.operator.quota_usage import QuotaUsage
from postroad.operator.reachable import ReachableLooks
from postroad.operator.reconcile import Facts
from postroad.operator.records import DnsLooks
from postroad.operator.settings import OperatorSettings
from postroad.operator.statuses import Statuses
from postroad.operator.store import Store
from postroad.policy.compiled import Compiled
from postroad.policy.declared import Reference
from postroad.policy.manifest_domain import DomainSpec
from postroad.policy.model import ObjectKey, Quota, Relay
from postroad.policy.seal import Keyring
from postroad.runtime.errors import StartupError
from postroad.runtime.lifecycle import Process
from postroad.runtime.logs import get_logger
from postroad.runtime.queue import read_keyring, spool_options
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.interface import Spool
from postroad.spool.jetstream import SpoolOptions, connect

log = get_logger("operator")


async def build(process: Process, settings: OperatorSettings) -> None:
    """Stand by for the Lease; what leading needs is started once it is there."""
    keyring = read_keyring(settings.cluster_key_file)
    _find_access()
    kube = Kube(log_in)
    process.on_stop("kubernetes", kube.close)
    process.pages["backlog"] = standby_page
    lease = LeaseKeeper(kube, settings.lease.namespace, settings.lease.name, settings.identity)
    metrics.LEADER.set_function(lambda: int(lease.holding))
    # The last thing to be done but for closing the connection: until then nobody else may begin.
    process.on_stop("lease", lease.give_up)
    process.spawn("leading", _lead(process, settings, keyring, kube, lease))


def _find_access() -> None:
    """Raise StartupError when there is no way to log in to a cluster."""
    try:
        log_in()
    except NoAccess as error:
        raise StartupError(str(error)) from error


async def _lead(
    process: Process, settings: OperatorSettings, keyring: Keyring, kube: Kube, lease: LeaseKeeper
) -> None:
    await lease.acquire()
    process.spawn("lease", _keep(process, lease))
    options = spool_options(process, settings.nats, role="operator")
    await provision_first(options, settings.queue)
    spool = await _connected(options)
    process.on_stop("queue", spool.close)
    process.readiness.add("queue", lambda: _why_no_queue(spool))
    process.spawn("provisioning", look_after(options, settings.queue))
    leader = Leader(settings, keyring, kube, spool)
    process.pages["backlog"] = leader.backlog.page
    lease.on_contact = leader.list_soon
    await leader.start(process)


async def _keep(process: Process, lease: LeaseKeeper) -> None:
    await lease.keep()
    log.error("the Lease is lost, the process ends")
    process.stop(exit_code=1)


async def _connected(options: SpoolOptions) -> Spool:
    while True:
        try:
            return await connect(options)
        except SpoolError as error:
            log.warning("the queue cannot be opened yet", error=str(error))
            await asyncio.sleep(1)


def _why_no_queue(spool: Spool) -> str | None:
    refusal = spool.refusal()
    # A full queue is configured like any other.
    return str(refusal) if isinstance(refusal, SpoolUnavailable) else None


class Leader:
    """The parts of an operator that leads, and what they tell each other."""

    def __init__(
        self, settings: OperatorSettings, keyring: Keyring, kube: Kube, spool: Spool
    ) -> None:
        self._settings = settings
        self._store = Store()
        self._statuses = Statuses(kube, self._store, instance=settings.identity)
        self._picture = Picture(
            kube,
            self._store,
            namespaces=settings.watch_namespaces,
            resync=settings.resync,
            declared=self._declared,
            told=self._told,
        )
        self._publisher = Publisher(self._store, self._picture, spool, keyring, self._published)
        self._acknowledgements = Acknowledgements(spool, self._publisher, self._told)
        self._judge = Judge(self._store, self._statuses, self._facts)
        self._dns = DnsLooks(self._domains, self._told, settings.resolver)
        self._reachable = ReachableLooks(self._relays, self._told)
        self._usage = QuotaUsage(self._quotas, spool.usage, self._told)
        self.backlog = BacklogCounts(spool)

    async def start(self, process: Process) -> None:
        """Begin: what is published, then what is declared, then everything else."""
        await self._read_published()
        await self._picture.list_first()
        watch = Watch(self._picture.event, self._settings.watch_namespaces)
        process.on_stop("watch", watch.stop)
        watch.start()
        for name, part in (
            ("lists", self._picture.run()),
            ("publisher", self._publisher.run()),
            ("acknowledgements", self._acknowledgements.run()),
            ("judge", self._judge.run()),
            ("statuses", self._statuses.run()),
            ("reachable", self._reachable.run()),
            ("usage", self._usage.run()),
            ("backlog", self.backlog.run()),
        ):
            process.spawn(name, part)
        if self._settings.dns_checks:
            process.spawn("dns", self._dns.run())

    def list_soon(self) -> None:
        """Look at everything again: the API server was away."""
        self._picture.list_soon()

    async def _read_published(self) -> None:
        while True:
            try:
                await self._publisher.start()
                return
            except SpoolError as error:
                log.warning("what is published cannot be read yet", error=str(error))
                await asyncio.sleep(1)

    def _declared(self) -> None:
        self._publisher.wake()

    def _published(self) -> None:
        self._acknowledgements.look()
        self._judge.wake()

    def _told(self, reference: Reference | None = None) -> None:
        self._judge.wake(reference)

    def _facts(self) -> Facts:
        return Facts(
            compiled=self._publisher.compiled,
            generations=self._publisher.generations,
            serving=self._acknowledgements.serving,
            patient=self._acknowledgements.patient,
            hostname=self._settings.hostname,
            dns_checks=self._settings.dns_checks,
            dns=self._dns.facts,
            reachable=self._reachable.found,
            usage=self._usage.lines,
        )

    @property
    def _compiled(self) -> Compiled:
        return self._publisher.compiled

    def _domains(self) -> frozenset[str]:
        specs = (known.declared.spec for known in self._store.objects.values())
        return frozenset(spec.domain for spec in specs if isinstance(spec, DomainSpec))

    def _relays(self) -> dict[ObjectKey, Relay]:
        entries = self._compiled.entries.values()
        return {entry.key: entry for entry in entries if isinstance(entry, Relay)}

    def _quotas(self) -> list[Quota]:
        return [e for e in self._compiled.entries.values() if isinstance(e, Quota)]
