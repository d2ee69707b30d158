"""
The relay of `postroad up`: starts all its parts in order, and stops them.

First it opens the ports, because that fails most often and costs little. Then it starts the queue,
then it publishes the manifests, so that no process waits for its configuration, and last it starts
the processes. It stops in reverse: ingress and delivery drain together, then the queue closes.
"""

import asyncio
import errno
import os
import shlex
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.cli.sink.command import listen_sink
from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.standalone import example
from postroad.cli.standalone.banner import Banner, own_command
from postroad.cli.standalone.listeners import Listeners, bind
from postroad.cli.standalone.manifests import FollowedManifests
from postroad.cli.standalone.metrics_page import merged_pages
from postroad.cli.standalone.nats.server import EmbeddedServer
from postroad.cli.standalone.oversight import Oversight
from postroad.cli.standalone.own_name import is_too_short
from postroad.cli.standalone.supervisor import ChildSpec, StartRefused, Supervisor
from postroad.cli.state.anothers_queue import refuse_anothers_queue
from postroad.cli.state.configured import note_config
from postroad.cli.state.folder import StateFolder, lock_store, unwritable, usual_state_folder
from postroad.cli.state.keys import load_keyrings
from postroad.operator.jetstream.backlog import BacklogCounts
from postroad.operator.jetstream.provisioning import look_after
from postroad.operator.jetstream.storage import look_at_storage
from postroad.policy.model import Entry
from postroad.policy.secrets.seal import Reader
from postroad.process.errors import NO_DESCRIPTORS, StartupError, lacks_descriptors
from postroad.process.lifecycle import Process
from postroad.process.sockets import bound_address, listen
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision, report_disk
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.telemetry.logs import get_logger
from postroad.units.addresses import ListenAddress, parse_listen_address
from postroad.units.quantities import format_duration

log = get_logger(__name__)

_KILLED_AFTER = timedelta(seconds=5)  # beyond the time a process has for its drain
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class NoSettings:
    """`up` itself has flags instead of settings; its children have environment variables."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The number of processes of each kind."""

    ingress: int
    delivery: int


@dataclass(frozen=True, slots=True)
class StandaloneOptions:
    """The values of the flags of `postroad up`."""

    config: tuple[Path, ...]
    state: Path
    listeners: Mapping[str, ListenAddress]  # relay, submission, submissions: those that are on
    http: ListenAddress | None
    workers: Workers
    resolver: str | None
    drain: timedelta  # the time that each process has to drain
    settings: Mapping[str, str] = field(default_factory=dict)  # those that differ from the defaults


class StandaloneRelay:
    """Builds the relay of one machine into a lifecycle process."""

    def __init__(self, options: StandaloneOptions, page: str | None, process: Process) -> None:
        self._options = options
        self._page = page
        self._process = process
        self._state = StateFolder(options.state)
        self._sockets: list[socket.socket] = []  # kept open for children that start again

    async def build(self) -> None:
        """Start everything in order, print the addresses, and return when the relay is ready."""
        try:
            await self._build()
        except CommandError as failure:
            raise StartupError(str(failure), code=failure.code) from failure
        except OSError as error:
            if error.errno not in _NO_ROOM or error.filename is None:
                raise
            raise StartupError(str(unwritable(error))) from error

    async def _build(self) -> None:
        ports = bind(self._options.listeners, self._options.workers.ingress)
        self._store_lock = lock_store(self._state)
        server = await self._start_server()
        spool = await self._open_queue(server)
        manifests = await self._publish(spool)
        await self._warn_of_name(manifests.in_force.entries.values())
        supervisor = self._start_processes(ports, server)
        self._process.spawn("manifests", manifests.watch())
        await supervisor.wait_ready()
        self._announce(ports)

    async def _start_server(self) -> EmbeddedServer:
        server = EmbeddedServer(self._state, store_lock=self._store_lock)
        await server.start()
        self._process.on_stop("nats-server", server.stop)
        self._process.spawn("nats-server", self._watch_server(server))
        return server

    async def _watch_server(self, server: EmbeddedServer) -> None:
        try:
            await server.watch()
        except CommandError as failure:
            log.error("the relay stops", reason=str(failure))
            self._process.stop(exit_code=1)

    async def _open_queue(self, server: EmbeddedServer) -> Spool:
        options = SpoolOptions(
            servers=(server.address.url,),
            token=server.token,
            server_uid=os.geteuid(),
            role="operator",
            process="up",
        )
        streams = partial(provision, options, layout=SINGLE_MACHINE, capacity=server.capacity)
        try:
            await streams()
        except SpoolError as error:
            raise CommandError(
                f"the queue in {self._state.store} cannot be taken over: {error};"
                f" look at {self._state.server_log}, or choose another folder with --state"
            ) from error
        spool = await connect(options)
        self._process.on_stop("queue", spool.close)
        self._process.spawn("disk", report_disk(options, self._state.store))
        self._process.spawn("streams", look_after(streams))
        self._watch_queue(spool, options, server)
        return spool

    def _watch_queue(self, spool: Spool, options: SpoolOptions, server: EmbeddedServer) -> None:
        """Show the queue's gauges, as the operator does."""
        self._process.spawn("backlog", BacklogCounts((), leading=lambda: True).run(spool))
        self._process.spawn("storage", look_at_storage(options, capacity=server.capacity))

    async def _publish(self, spool: Spool) -> FollowedManifests:
        keyrings = load_keyrings(self._state)
        if not self._options.config:
            await refuse_anothers_queue(self._state, spool, keyrings)
        paths = self._options.config or (await self._prepare_example(),)
        manifests = FollowedManifests(paths, spool, keyrings)
        await manifests.publish_first()
        if self._options.config:
            note_config(self._state, self._options.config)
        Oversight(self._state, manifests, spool, resolver=self._options.resolver).start(
            self._process
        )
        return manifests

    async def _prepare_example(self) -> Path:
        folder = self._state.example
        self._state.sink.mkdir(exist_ok=True)
        sink = Sink(SinkBehaviour(keep=self._state.sink))
        try:
            serving, port = await _listen_again(sink, example.sink_port(folder))
        except StartupError:
            serving, port = await _listen_again(sink, 0)
        self._process.on_stop("sink", lambda: _close(serving))
        example.write_example(folder, port=port)
        return folder

    def _start_processes(
        self, ports: Mapping[str, Listeners], server: EmbeddedServer
    ) -> Supervisor:
        workers = self._options.workers
        pages = {}
        specs = []
        for role, number in [("ingress", n) for n in range(workers.ingress)] + [
            ("delivery", n) for n in range(workers.delivery)
        ]:
            page = listen(ListenAddress("127.0.0.1", 0))
            spec = self._child(role, number, ports, server, page)
            specs.append(spec)
            pages[spec.name] = bound_address(page)
        supervisor = Supervisor(specs)
        self._process.metrics_page = lambda wanted: merged_pages(pages, wanted)
        self._process.readiness.add("processes", lambda: _not_ready(supervisor))
        self._process.spawn("supervisor", self._supervise(supervisor))
        grace = (self._options.drain + _KILLED_AFTER).total_seconds()
        self._process.on_drain("processes", lambda: self._drain(supervisor, grace))
        return supervisor

    async def _drain(self, supervisor: Supervisor, grace: float) -> None:
        """Stop the processes and close the ports: no process will restart and need them."""
        for each in self._sockets:
            each.close()
        await supervisor.stop(grace=grace)

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        except StartRefused as refused:
            # The child has said why on standard error.
            log.error("a process cannot start, so the relay stops", reason=str(refused))
            self._process.stop(exit_code=1)
        except OSError as error:
            if not lacks_descriptors(error):
                raise
            log.error("a process cannot start, so the relay stops", reason=NO_DESCRIPTORS)
            self._process.stop(exit_code=1)

    def _child(
        self,
        role: str,
        number: int,
        ports: Mapping[str, Listeners],
        server: EmbeddedServer,
        page: socket.socket,
    ) -> ChildSpec:
        environment = {
            "POSTROAD_NATS_URL": server.address.url,
            "POSTROAD_NATS_TOKEN_FILE": str(self._state.server_token),
            "POSTROAD_NATS_SERVER_UID": str(os.geteuid()),
            "POSTROAD_CLUSTER_KEY_FILE": str(self._state.key_of(Reader(role))),
            "POSTROAD_HTTP": f"fd:{page.fileno()}",
            "POSTROAD_DRAIN_TIMEOUT": format_duration(self._options.drain),
        }
        sockets = [page]
        if role == "ingress":
            for name, port in ports.items():
                own = port.sockets[number]
                environment[f"POSTROAD_LISTEN_{name.upper()}"] = f"fd:{own.fileno()}"
                sockets.append(own)
            environment["POSTROAD_TLS_STATE"] = str(self._state.tls)
        elif self._options.resolver is not None:
            environment["POSTROAD_RESOLVER"] = self._options.resolver
        descriptors = [each.fileno() for each in sockets]
        self._sockets += sockets
        return ChildSpec(f"{role}-{number}", f"postroad.{role}", environment, descriptors)

    async def _warn_of_name(self, entries: Iterable[Entry]) -> None:
        if os.environ.get("POSTROAD_HOSTNAME"):
            return  # ingress and delivery themselves warn of a given name
        name = await asyncio.to_thread(socket.getfqdn)
        if is_too_short(name, entries):
            log.warning(
                "this machine has no full name, and hosts may refuse its mail",
                reason=f"it is {name}; --hostname takes the name that its address has in the DNS",
            )

    def _announce(self, ports: Mapping[str, Listeners]) -> None:
        options = self._options
        named = {name: port.address for name, port in ports.items()}
        usual = options.state == usual_state_folder()  # another terminal has no $POSTROAD_STATE
        banner = Banner(
            ports=named if self._page is None else {**named, "http": self._page},
            state=options.state,
            manifests=options.config or (self._state.example,),
            sink=None if options.config else self._state.sink,
            settings=options.settings,
            command=own_command(),
            state_flag="" if usual else f" --state {shlex.quote(str(options.state))}",
        )
        banner.tell()


async def _listen_again(sink: Sink, port: int) -> tuple[asyncio.Server, int]:
    serving, where = await listen_sink(sink, ListenAddress("127.0.0.1", port))
    return serving, parse_listen_address(where).port


async def _close(serving: asyncio.Server) -> None:
    serving.close()


def _not_ready(supervisor: Supervisor) -> str | None:
    waiting = [child.spec.name for child in supervisor.children if not child.ready]
    return f"not ready: {', '.join(waiting)}" if waiting else None
