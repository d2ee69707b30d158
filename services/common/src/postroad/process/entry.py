"""
The entry point of every Postroad process: from the environment to the exit code.

    def main() -> None:
        entry.main("ingress", IngressSettings, build)

    async def build(process: Process, settings: IngressSettings) -> None:
        spool = await connect(settings.nats)
        process.on_stop("spool", spool.close)
        ...

Exit codes: 0 after a drain, even if it ran out of time (the queue still has the unfinished mail); 1
if the process could not start or a part of it died; 2 for settings that cannot be used; 128 + n if
a second signal n forced the end. A failed start prints one line on standard error.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import uvloop

from postroad.process.errors import NO_DESCRIPTORS, SettingsError, StartupError, lacks_descriptors
from postroad.process.health import HealthServer
from postroad.process.lifecycle import Process
from postroad.process.machine.standard_streams import prepare_streams
from postroad.process.settings import changed, describe, group, load, names, setting, unknown
from postroad.process.sockets import listen
from postroad.process.supervised import ReadyNotice, die_with_parent
from postroad.telemetry import logs, metrics, tracing
from postroad.telemetry.lines.sink import LineSink
from postroad.units.addresses import ListenAddress

READINESS_SECONDS = 0.25  # how often readiness is checked for the supervisor
_YOUNG = 5000  # new objects after which the garbage collector checks the youngest generation

S = TypeVar("S")
Build = Callable[[Process, S], Coroutine[Any, Any, None]]

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    level: logs.LogLevel = setting(logs.LogLevel.INFO)
    """The lowest level that is logged."""
    format: logs.LogFormat = setting(logs.LogFormat.AUTO)
    """`auto` is readable on a terminal and JSON elsewhere."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """The settings every process has."""

    log: LogSettings = group(LogSettings)
    http: ListenAddress | None = None
    """Where /metrics, /healthz and /readyz are served. Default: nowhere."""
    drain_timeout: timedelta = setting(timedelta(seconds=25), minimum=timedelta(seconds=1))
    """How long a drain may take. On Kubernetes, set less than terminationGracePeriodSeconds."""
    process: str | None = None
    """The process's name in logs and traces. Default: its role."""
    parent_pid: int | None = None
    """Set by a supervisor: the process ends when this one dies."""
    notify_fd: int | None = None
    """Set by a supervisor: the pipe for notices of readiness."""


def main(
    role: str, of: type[S], build: Build[S], *, known: Collection[str] | None = None
) -> NoReturn:
    """
    Run a process: read the settings, start logging, run what `build` builds, exit.

    `build(process, settings)` starts the parts in order, registers with `process` how to end them,
    and returns. An exception in it ends the process with one line: a StartupError as it is, any
    other with its class. The traceback is logged at level debug.

    A supervisor passes the names of all settings as `known`, and logs the settings itself. It has
    read its command line; a process of a role takes nothing there.
    """
    if known is None:
        _refuse_arguments(role)
    _leave_no_core()
    prepare_streams()
    runtime, settings = _read_settings(role, of)
    name = runtime.process or role
    sink = logs.configure(name, level=runtime.log.level, format=runtime.log.format)
    quiet = logs.for_people(runtime.log.format) and (known is not None or bool(runtime.parent_pid))
    _tell_start(runtime, settings, quiet=quiet)
    if runtime.parent_pid is None:
        _warn_of_unknown(known, names(RuntimeSettings) | names(of))
    try:
        code = uvloop.run(
            _run(role, runtime, sink, lambda process: build(process, settings), quiet=quiet)
        )
    except Exception as error:
        _log.debug("cannot start", exc_info=error)
        sink.close()  # so that the sentence is the last line, which people read first
        code = error.code if isinstance(error, StartupError) else 1
        _complain(name, _sentence(error), code)
    sink.close()
    sys.exit(code)


def _refuse_arguments(role: str) -> None:
    """Answer --help and --version; end with 2 if anything else is on the command line."""
    parser = argparse.ArgumentParser(
        f"postroad-{role}",
        description=f"Runs one {role} process of Postroad, as its container does.",
        epilog="All settings are environment variables, POSTROAD_...: see docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=version("postroad"))
    parser.parse_args()


def _tell_start(runtime: RuntimeSettings, settings: object, *, quiet: bool) -> None:
    """Log the settings: all of them as JSON, only those that are not defaults for people."""
    everything = describe(runtime) | describe(settings)
    if not logs.for_people(runtime.log.format):
        _log.info("starting", settings=everything)
        return
    _log.debug("starting", settings=everything)
    if not quiet:
        different = changed(runtime) | changed(settings)
        _log.info("starting", **({"settings": different} if different else {}))


def _warn_of_unknown(all_names: Collection[str] | None, own: Collection[str]) -> None:
    """Warn of POSTROAD_ variables that are no settings: most are misspelt."""
    for name, meant in unknown(os.environ, own if all_names is None else all_names).items():
        if meant is not None:
            _log.warning("unknown setting", setting=name, reason=f"did you mean {meant}?")
        elif all_names is not None:  # else it may be a setting of another process
            _log.warning("unknown setting", setting=name)


def _leave_no_core() -> None:
    """
    Forbid core dumps of this process: its memory holds logins and mail.

    Child processes inherit this, nats-server too. It does not use PR_SET_DUMPABLE, because a
    process that is not root's could then not read its own figures for the metrics in /proc.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read_settings(role: str, of: type[S]) -> tuple[RuntimeSettings, S]:
    problems: list[str] = []
    loaded: list[Any] = []
    for each in (RuntimeSettings, of):
        try:
            loaded.append(load(each))
        except SettingsError as error:
            problems += error.problems
    if problems:
        sys.exit(_complain(role, str(SettingsError(tuple(problems))), 2))
    runtime: RuntimeSettings = loaded[0]
    if runtime.parent_pid is not None:
        try:
            die_with_parent(runtime.parent_pid)
            # Ctrl-C at a terminal reaches the supervisor too, which then sends SIGTERM. With both,
            # every child would be forced to end. A handler of the event loop will not do: it is
            # removed with the loop, and a late Ctrl-C would then be a KeyboardInterrupt.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except StartupError as error:
            sys.exit(_complain(role, str(error), 1))
    return runtime, loaded[1]


def _complain(name: str, sentence: str, code: int) -> int:
    print(f"postroad {name}: {sentence}", file=sys.stderr, flush=True)
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, StartupError):
        return str(error)
    if lacks_descriptors(error):
        return f"cannot start: {NO_DESCRIPTORS}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"cannot start: {error.filename}: {error.strerror}"
    return f"cannot start: {type(error).__name__}: {error}"


async def _run(
    role: str,
    runtime: RuntimeSettings,
    sink: LineSink,
    build: Callable[[Process], Coroutine[Any, Any, None]],
    *,
    quiet: bool,
) -> int:
    name = runtime.process or role
    process = Process(role, name, drain_timeout=runtime.drain_timeout, quiet=quiet)
    _follow_signals(process, sink, supervised=runtime.parent_pid is not None)
    metrics.READY.set_function(lambda: int(not process.readiness.reasons()))
    tracing.start(role, name)
    process.on_stop("tracing", lambda: asyncio.to_thread(tracing.stop))
    return await process.live(_build(process, runtime, build))


async def _build(
    process: Process,
    runtime: RuntimeSettings,
    build: Callable[[Process], Coroutine[Any, Any, None]],
) -> None:
    if runtime.http is not None:
        # It starts first and stops last: it says why a process hangs in its start.
        server = HealthServer(
            listen(runtime.http),
            process.readiness,
            lambda wanted: process.metrics_page(wanted),
            process.pages,
        )
        process.on_stop("health", server.stop)
        await server.start()
    # Before the parts: a start may wait for long, and the supervisor must tell that from a hang.
    process.spawn("readiness notice", _keep_told(process, ReadyNotice(runtime.notify_fd)))
    await build(process)
    # The objects of now live to the end, so the collector need not check them again.
    gc.collect()
    gc.freeze()
    # Hundreds of messages are in memory at once. With Python's threshold of 700 new objects, the
    # collector would check most of them several times while they live.
    gc.set_threshold(_YOUNG)


async def _keep_told(process: Process, notice: ReadyNotice) -> None:
    clock = asyncio.get_running_loop().time
    while not process.stopping:
        notice.tell(not process.readiness.reasons(), clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READINESS_SECONDS):
                await process.until_stopping()
    while True:  # notices go on while the process drains: silence would mean that it hangs
        notice.tell(False, clock())
        await asyncio.sleep(READINESS_SECONDS)


def _follow_signals(process: Process, sink: LineSink, *, supervised: bool) -> None:
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        if process.stopping:
            sink.close()
            os._exit(128 + number)
        process.stop()

    loop.add_signal_handler(signal.SIGTERM, ask, signal.SIGTERM)
    if not supervised:
        loop.add_signal_handler(signal.SIGINT, ask, signal.SIGINT)
        # SIGHUP means that the terminal was closed. With nohup the process outlives it.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, ask, signal.SIGHUP)
