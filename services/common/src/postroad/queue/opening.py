"""The settings of the queue, and how a process of the data plane opens it, as its first part."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from postroad.policy.secrets.keyfile import KeyFileError, load_keyring
from postroad.policy.secrets.seal import Keyring
from postroad.process.errors import StartupError
from postroad.process.lifecycle import Process
from postroad.process.settings import group, setting, without_login
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool
from postroad.spool.jetstream.nats.connection import API_PREFIX
from postroad.spool.jetstream.nats.tls import ServerTrust
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.units.secret import Secret


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """The NATS servers and how this process logs in to them."""

    url: str = setting("nats://127.0.0.1:4222")
    """One URL, or several separated by commas."""
    token: Secret | None = None
    """The token, if the servers need one."""
    user: str | None = None
    """The user, if the servers need a user and password."""
    password: Secret | None = None
    """The user's password."""
    server_uid: int | None = setting(None, minimum=0)
    """
    The user id that runs the servers, if they are on this machine. A process sends neither token
    nor mail to a server of another user (Linux only).
    """
    ca_file: Path | None = None
    """
    The certificate authorities of the servers, in PEM. With this file connections use TLS, and a
    process sends nothing to a server without a certificate of these authorities. The file is read
    at each connect. Without it connections are in clear.
    """
    api_prefix: str = setting(API_PREFIX)
    """
    The prefix of the subjects of JetStream's API. It differs from the default if the servers have
    an account for each role, as those of the chart do.
    """
    patience: timedelta = setting(timedelta(seconds=30), minimum=timedelta(seconds=1))
    """How long a start waits for the servers, and until the queue is provisioned."""

    def trust(self) -> ServerTrust | None:
        """Return whom to believe that it is the server, None if connections are in clear."""
        return ServerTrust(self.ca_file) if self.ca_file is not None else None


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The queue, and the cluster key, which opens the secrets for this role."""

    nats: NatsSettings = group(NatsSettings)
    cluster_key_file: str = setting("cluster.key")
    """
    The file of the cluster key of this role, which decrypts its secrets. While you replace a key:
    two files, separated by a comma.
    """
    pool: str = setting("default")
    """The egress pool this process belongs to."""


def open_keyring(settings: QueueSettings) -> Keyring:
    """Read the cluster keys; StartupError names one that cannot be used."""
    return read_keyring(settings.cluster_key_file)


def read_keyring(files: str) -> Keyring:
    """Read the cluster keys in these files; StartupError names one that cannot be used."""
    try:
        return load_keyring([Path(name.strip()) for name in files.split(",")])
    except KeyFileError as error:
        raise StartupError(str(error)) from error


async def open_queue(
    process: Process, settings: QueueSettings, *, role: str, packs: bool = True
) -> Spool:
    """
    Connect to the queue and wait until it is provisioned; `process` closes it at its end.

    `packs` says whether new mail may be stored together.
    """
    nats = settings.nats
    options = spool_options(process, nats, role=role, pool=settings.pool, packs=packs)
    try:
        spool = await connect(options)
    except SpoolError as error:
        reason = str(error)
        for url in options.servers:
            reason = reason.replace(url, without_login(url))
        where = without_login(nats.url)
        raise StartupError(f"the queue at {where} cannot be opened: {reason}") from error
    process.on_stop("queue", spool.close)
    return spool


def spool_options(
    process: Process,
    nats: NatsSettings,
    *,
    role: str,
    pool: str = "default",
    packs: bool = True,
) -> SpoolOptions:
    """Return the options with which a process connects to the queue."""
    return SpoolOptions(
        servers=tuple(url.strip() for url in nats.url.split(",")),
        token=nats.token.reveal() if nats.token else None,
        user=nats.user,
        password=nats.password.reveal() if nats.password else None,
        server_uid=nats.server_uid,
        api_prefix=nats.api_prefix,
        trust=nats.trust(),
        role=role,
        process=process.name,
        pool=pool,
        packs=packs,
        patience=nats.patience,
    )
