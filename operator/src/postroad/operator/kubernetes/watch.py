"""
Watches the cluster with kopf. This module sets kopf up, and does nothing else.

kopf runs in a thread with its own event loop, for two reasons. When kopf stops, it cancels every
task of its loop, also those of others. And a list of thousands of objects keeps its loop busy,
while the Lease must be renewed. Its handlers only pass each event on to the operator's loop. They
are low-level `on.event` handlers, for which kopf keeps no finalizers, annotations or progress. So
kopf never writes to an object.

The API server sends only Secrets that their owners have labelled for use as a login. When kopf
fails, it is started again after a pause. Its first list then brings the changes that it missed, and
the operator's own list brings the deletions.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import kopf

from postroad.manifests.objects import GROUP, SECRET_LABEL, SECRET_USE, VERSION
from postroad.operator import metrics
from postroad.operator.kubernetes.client import PLURALS, ApiAccess, KubeError
from postroad.process.background.backoff import Backoff
from postroad.telemetry.logs import get_logger

# kind, type (ADDED, MODIFIED, DELETED, None when listed), object; called on the operator's loop.
ChangeReceiver = Callable[[str, str | None, dict[str, Any]], None]

_BACKOFF = Backoff(timedelta(seconds=1), timedelta(seconds=30))
_GOOD_RUN = 60.0  # seconds without failure after which the count of failures starts again

log = get_logger(__name__)


class NoAccess(kopf.LoginError, KubeError):
    """There are no credentials for a cluster: final at the start, temporary later."""


def log_in() -> ApiAccess:
    """Return the credentials of the service account, or else of KUBECONFIG; raises NoAccess."""
    found = _log_in(kopf.OperatorSettings())
    text = _text
    return ApiAccess(
        server=found.server,
        token=found.token,
        ca_path=text(found.ca_path),
        ca_data=text(found.ca_data),
        certificate_path=text(found.certificate_path),
        certificate_data=text(found.certificate_data),
        private_key_path=text(found.private_key_path),
        private_key_data=text(found.private_key_data),
        insecure=bool(found.insecure),
    )


def _log_in(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    logger = logging.getLogger("kopf")
    found = kopf.login_with_service_account(logger=logger, settings=settings)
    found = found or kopf.login_with_kubeconfig(logger=logger, settings=settings)
    if found is None:
        raise NoAccess("there is no cluster: neither a service account nor a file in KUBECONFIG")
    return found


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode() if isinstance(value, bytes) else str(value)


class Watch:
    """
    kopf in its thread. Call `start` once; `failures` counts restarts in a row.

    `missed` is called on the operator's loop when events may have been missed.
    """

    def __init__(
        self,
        sink: ChangeReceiver,
        namespaces: Sequence[str],
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        self._sink = sink
        self._missed = missed
        self._namespaces = list(namespaces)
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.failures = 0

    def start(self) -> None:
        """Start watching."""
        logging.getLogger("kopf").setLevel(logging.WARNING)
        # kopf warns that it handles no signals in a thread, which is intended, and logs a missing
        # API server once for every kind. The Lease logs that once for every try.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        logging.getLogger("kopf._cogs.clients.watching").setLevel(logging.CRITICAL)
        self._thread.start()

    async def stop(self) -> None:
        """Let the thread end, with a short time limit: the Lease is given up after it."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                asyncio.run(self._watch())
            except (Exception, asyncio.CancelledError) as error:
                # kopf cancels its own tasks: a CancelledError from it must not end this thread.
                metrics.ERRORS.labels("watch").inc()
                log.warning("the watch ended and begins again", error=repr(error))
            if not self._stop.is_set():
                lasted = time.monotonic() - began
                self.failures = 1 if lasted > _GOOD_RUN else self.failures + 1
                self._stop.wait(_BACKOFF.seconds(self.failures, random))
            if not self._stop.is_set():
                self._loop.call_soon_threadsafe(self._missed)

    async def _watch(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
            identity="postroad",  # type: ignore[arg-type]
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        def log_in_again(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
            return _log_in(settings)

        for kind, plural in PLURALS.items():
            self._follow(registry, str(kind), (GROUP, VERSION, plural))
        self._follow(registry, "Secret", ("", "v1", "secrets"))
        self._follow(registry, "Namespace", ("", "v1", "namespaces"))
        return registry

    def _follow(
        self, registry: kopf.OperatorRegistry, kind: str, resource: tuple[str, str, str]
    ) -> None:
        @kopf.on.event(*resource, id=f"seen-{kind}", registry=registry)
        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            body: dict[str, Any] = dict(event["object"])
            if not self._stop.is_set():
                self._loop.call_soon_threadsafe(self._sink, kind, event["type"], body)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # kopf would kill the process
    settings.scanning.disabled = True  # the kinds are known, and the namespaces too
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 0.5
    settings.watching.label_selectors["", "v1", "secrets"] = f"{SECRET_LABEL}={SECRET_USE}"
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = (1, 2, 3, 5, 8)
    # kopf has a worker for each object; it should end soon after its event.
    settings.queueing.idle_timeout = 0.05
    settings.queueing.worker_limit = 100
    settings.queueing.exit_timeout = 0.5
    return settings
