"""
Reaches a cluster's NATS servers through kubectl: the rights of its user are those of the command.

kubectl finds the release, reads the password of the NATS user `command`, and forwards a loopback
port to one of the servers. When the pod ends, the forward ends, too; it is started again on the
same port, where the client reconnects.
"""

import asyncio
import base64
import json
import os
import re
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from postroad.cli.errors import CommandError
from postroad.process.background.tasks import BackgroundTasks
from postroad.process.supervised import die_with_parent
from postroad.spool.jetstream.nats.connection import API_PREFIX
from postroad.spool.jetstream.nats.tls import ServerTrust
from postroad.telemetry.instruments import Counter
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

USER = "command"
_SERVERS = "app.kubernetes.io/part-of=postroad,app.kubernetes.io/component=nats"
_INSTANCE = "app.kubernetes.io/instance"
# Annotations of the Service: the Secret with the passwords, the one with the authorities of the
# servers' certificate, and the prefix of JetStream's API.
_AUTH = "postroad.dev/auth-secret"
_TLS = "postroad.dev/tls-secret"
_PREFIX = "postroad.dev/api-prefix"
_CLIENT_PORT = 4222
_ANSWER = 20.0  # seconds kubectl may take
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")
_AGAIN = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class KubernetesTarget:
    """The release that the user means; kubectl's defaults apply to what is not given."""

    context: str | None = None
    namespace: str | None = None
    release: str | None = None

    @property
    def named(self) -> bool:
        """Whether the user has named a Kubernetes cluster."""
        return any((self.context, self.namespace, self.release))

    def __str__(self) -> str:
        namespace = f"namespace {self.namespace}" if self.namespace else "the current namespace"
        return f"{namespace} of context {self.context}" if self.context else namespace


@dataclass(frozen=True, slots=True)
class ForwardedPort:
    """Where to connect, and with which login."""

    url: str
    user: str
    password: str
    api_prefix: str
    trust: ServerTrust | None


@dataclass(frozen=True, slots=True)
class _Servers:
    """The Service of a release's NATS servers, and what its annotations say."""

    service: str
    secret: str
    tls_secret: str | None
    api_prefix: str


@asynccontextmanager
async def forwarded(place: KubernetesTarget) -> AsyncIterator[ForwardedPort]:
    """Keep a port forwarded to a release's NATS servers; CommandError says what is missing."""
    kubectl = _Kubectl(place)
    servers = await _find(kubectl, place)
    password = await _entry(kubectl, servers.secret, USER)
    trust = None
    if servers.tls_secret is not None:
        trust = ServerTrust(await _entry(kubectl, servers.tls_secret, "ca.crt"), name="localhost")
    forward = await _Forward.open(kubectl, servers.service)
    try:
        url = f"nats://127.0.0.1:{forward.port}"
        yield ForwardedPort(url, USER, password, servers.api_prefix, trust)
    finally:
        await forward.close()


class _Kubectl:
    """Runs kubectl with the context and namespace of a target."""

    def __init__(self, place: KubernetesTarget) -> None:
        self._flags: list[str] = []
        if place.context:
            self._flags += ["--context", place.context]
        if place.namespace:
            self._flags += ["--namespace", place.namespace]

    async def start(self, *arguments: str) -> Process:
        """Run it; it dies with this process."""
        try:
            return await asyncio.create_subprocess_exec(
                "kubectl",
                *self._flags,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
            )
        except FileNotFoundError as error:
            raise CommandError(
                "kubectl is not installed; install it, or run the command in the cluster:"
                " kubectl exec deploy/RELEASE-toolbox -- postroad status"
            ) from error
        except OSError as error:
            raise CommandError(f"kubectl cannot be run: {os.strerror(error.errno or 0)}") from error

    async def ask(self, *arguments: str) -> dict[str, object]:
        """Return the JSON output of `kubectl get`."""
        process = await self.start("get", *arguments, "--output", "json")
        try:
            async with asyncio.timeout(_ANSWER):
                said, complaint = await process.communicate()
        except TimeoutError as error:
            await _end(process)
            raise CommandError("kubectl does not answer; is the cluster up?") from error
        except BaseException:
            await _end(process)
            raise
        if process.returncode != 0:
            raise CommandError(_sentence(complaint))
        found = json.loads(said)
        assert isinstance(found, dict)
        return found


def _sentence(complaint: bytes) -> str:
    """Return kubectl's error as one sentence."""
    lines = [line.strip() for line in complaint.decode("utf-8", "replace").splitlines()]
    told = [line for line in lines if line and not re.match(r"[EWI]\d{4} ", line)] or lines
    text = told[-1] if told else "it ended without a word"
    text = text.removeprefix("error: ").removeprefix("Error from server ")
    if "Forbidden" in text or "forbidden" in text:
        return f"kubectl may not do this: {text}"
    return f"kubectl: {text}"


async def _find(kubectl: _Kubectl, place: KubernetesTarget) -> _Servers:
    """Return the servers of the one release that is meant."""
    selector = f"{_SERVERS},{_INSTANCE}={place.release}" if place.release else _SERVERS
    said = await kubectl.ask("services", "--selector", selector)
    found: dict[str, _Servers] = {}
    for service in _list(said.get("items")):
        if _dict(service.get("spec")).get("clusterIP") == "None":
            continue
        metadata = _dict(service.get("metadata"))
        name = str(metadata["name"])
        noted = _dict(metadata.get("annotations"))
        secret = str(noted.get(_AUTH, f"{name}-auth"))
        release = _dict(metadata.get("labels")).get(_INSTANCE, name)
        tls = str(noted[_TLS]) if _TLS in noted else None
        prefix = str(noted.get(_PREFIX, API_PREFIX))
        found[str(release)] = _Servers(name, secret, tls, prefix)
    if not found:
        which = f"release {place.release} with" if place.release else "release with"
        raise CommandError(
            f"there is no {which} NATS servers in {place}; name another with --namespace and"
            " --release, or, with servers of your own, set $POSTROAD_NATS_URL"
        )
    if len(found) > 1:
        raise CommandError(
            f"there are several releases in {place}: {', '.join(sorted(found))};"
            " choose one with --release"
        )
    return next(iter(found.values()))


async def _entry(kubectl: _Kubectl, secret: str, key: str) -> str:
    data = _dict((await kubectl.ask("secret", secret)).get("data"))
    try:
        return base64.b64decode(str(data[key])).decode()
    except (KeyError, ValueError) as error:
        raise CommandError(f"the Secret {secret} has no entry {key}") from error


class _Forward:
    """A running `kubectl port-forward`."""

    def __init__(self, kubectl: _Kubectl, service: str, process: Process) -> None:
        self._kubectl = kubectl
        self._service = service
        self._process = process
        self._tasks = BackgroundTasks(Counter())
        self.port = 0

    @classmethod
    async def open(cls, kubectl: _Kubectl, service: str) -> "_Forward":
        """Start forwarding on a free port; CommandError if that fails."""
        forward = cls(kubectl, service, await _begin(kubectl, service, 0))
        try:
            forward.port = await forward._began()
        except BaseException:
            await _end(forward._process)
            raise
        forward._tasks.keep(forward._keep)
        return forward

    async def _began(self) -> int:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        try:
            async with asyncio.timeout(_ANSWER):
                while line := await self._process.stdout.readline():
                    if match := _FORWARDING.match(line.decode("utf-8", "replace")):
                        return int(match[1])
                complaint = await self._process.stderr.read()
        except TimeoutError as error:
            raise CommandError("kubectl forwards no port; is a NATS pod ready?") from error
        raise CommandError(_sentence(complaint))

    async def _keep(self) -> None:
        is_told = False
        while True:
            await self._process.communicate()
            await asyncio.sleep(_AGAIN)
            try:
                self._process = await _begin(self._kubectl, self._service, self.port)
            except CommandError as error:
                if not is_told:
                    log.error("kubectl cannot forward again for now", error=str(error))
                is_told = True
            else:
                is_told = False

    async def close(self) -> None:
        """End it."""
        await self._tasks.cancel()
        await _end(self._process)


async def _begin(kubectl: _Kubectl, service: str, port: int) -> Process:
    ports = f"{port or ''}:{_CLIENT_PORT}"
    return await kubectl.start(
        "port-forward", "--address", "127.0.0.1", f"service/{service}", ports
    )


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.communicate()


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, object]]:
    return [_dict(each) for each in value] if isinstance(value, list) else []
