"""
How a command finds its cluster. There are three ways:

- With --context, --namespace or --release, it connects through kubectl.
- If $POSTROAD_NATS_URL is set, as in a pod, it connects to these servers, with the same settings as
  every process of the cluster.
- Otherwise it reads URL and token from the state folder of a running `postroad up`, which only the
  folder's owner can read. The token is sent to the server of that `up` alone: the command does not
  connect if no `up` runs, and checks that no other user's program listens there.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postroad.cli.errors import CommandError
from postroad.cli.state.access import read_access
from postroad.cli.state.folder import StateFolder, default_state_folder, is_up
from postroad.cli.target.kubectl import forwarded
from postroad.cli.target.options import Where
from postroad.process.errors import SettingsError
from postroad.process.settings import group, load
from postroad.queue.opening import NatsSettings
from postroad.spool.errors import RecordTooLarge, SpoolFull, SpoolUnavailable
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.telemetry import logs

_ROLE = "command"


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """The settings of commands in the environment."""

    nats: NatsSettings = group(NatsSettings)


def state_folder(where: Where) -> StateFolder | None:
    """Return the state folder of the `postroad up` to talk to; None for any other cluster."""
    if where.place.named or (where.state is None and os.environ.get("POSTROAD_NATS_URL")):
        return None
    return StateFolder(where.state or default_state_folder())


@asynccontextmanager
async def open_cluster(where: Where) -> AsyncIterator[Spool]:
    """Connect to the cluster for one command; CommandError if that fails."""
    # Only errors are logged: lost and restored connections would disturb the command's output.
    sink = logs.configure(_ROLE, level=logs.LogLevel.ERROR)
    try:
        async with _way(where) as (options, hint), _connected(options, hint) as spool:
            yield spool
    finally:
        sink.close()


@asynccontextmanager
async def _way(where: Where) -> AsyncIterator[tuple[SpoolOptions, str]]:
    """Yield how to connect, and a hint for the error if that fails."""
    if not where.place.named:
        yield _options(where)
        return
    async with forwarded(where.place) as door:
        options = SpoolOptions(
            (door.url,),
            user=door.user,
            password=door.password,
            api_prefix=door.api_prefix,
            trust=door.trust,
            server_uid=os.geteuid(),  # the port belongs to kubectl, which runs as this user
            role=_ROLE,
        )
        yield options, "is a NATS pod ready?"


@asynccontextmanager
async def _connected(options: SpoolOptions, hint: str) -> AsyncIterator[Spool]:
    try:
        spool = await connect(options)
    except SpoolUnavailable as error:
        raise CommandError(f"the cluster does not answer ({error}); {hint}") from error
    try:
        yield spool
    except SpoolUnavailable as error:
        raise CommandError(f"the cluster stopped answering: {error}; try again") from error
    except SpoolFull as error:
        raise CommandError(f"the queue has no room for it: {error}") from error
    except RecordTooLarge as error:
        raise CommandError(f"the queue refuses it as too large: {error}") from error
    finally:
        await spool.close()


def _options(where: Where) -> tuple[SpoolOptions, str]:
    state = state_folder(where)
    if state is None:
        return _from_environment(), "is $POSTROAD_NATS_URL right?"
    access = read_access(state) if is_up(state) else None
    if access is None:
        raise CommandError(
            f"no relay runs with the state folder {state.path};"
            " start one with `postroad up`, name its folder with --state,"
            " or a Kubernetes cluster with --context or --namespace"
        )
    options = SpoolOptions(
        servers=(access.url,), token=access.token, server_uid=access.uid, role=_ROLE
    )
    return options, f"look at the log of the `postroad up` that runs with {state.path}"


def _from_environment() -> SpoolOptions:
    try:
        settings = load(CommandSettings)
    except SettingsError as error:
        raise CommandError(str(error), code=2) from error
    nats = settings.nats
    return SpoolOptions(
        servers=tuple(url.strip() for url in nats.url.split(",")),
        token=nats.token.reveal() if nats.token else None,
        user=nats.user,
        password=nats.password.reveal() if nats.password else None,
        server_uid=nats.server_uid,
        api_prefix=nats.api_prefix,
        trust=nats.trust(),
        role=_ROLE,
    )
