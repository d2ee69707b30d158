"""Where the queue's servers are, and which role a process has in its cluster."""

from dataclasses import dataclass, field
from datetime import timedelta

from postroad.spool.jetstream.nats.connection import API_PREFIX, Access
from postroad.spool.jetstream.nats.tls import ServerTrust
from postroad.spool.jetstream.timings import Timings

_PATIENCE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """The servers of the queue, and this process's role in the cluster."""

    servers: tuple[str, ...]
    token: str | None = None
    user: str | None = None
    password: str | None = None
    server_uid: int | None = None  # the user that must run the servers on this machine; None: any
    api_prefix: str = API_PREFIX
    trust: ServerTrust | None = None  # of the servers' certificates; None: in clear
    role: str = "delivery"
    process: str = ""
    pool: str = "default"
    packs: bool = True  # whether new mail may be stored together, as one message
    patience: timedelta = _PATIENCE  # how long to wait for the servers and for provisioning
    timings: Timings = field(default_factory=Timings)

    @property
    def makes_streams(self) -> bool:
        """Whether this process may create streams and buckets: only the operator does."""
        return self.role == "operator"

    def access(self) -> Access:
        """Return the options of the NATS connection."""
        return Access(
            servers=self.servers,
            name=f"postroad-{self.process or self.role}",
            token=self.token,
            user=self.user,
            password=self.password,
            inbox_prefix=f"_INBOX_{self.role}",
            api_prefix=self.api_prefix,
            trust=self.trust,
            server_uid=self.server_uid,
        )
