"""The cases of the bench; each is one plan of a load."""

from collections.abc import Sequence
from dataclasses import dataclass

from postroad.cli.handover import Tls, tls_context
from postroad.cli.load.plan import LoadPlan

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """A case, with a description."""

    name: str
    text: str
    octets: int = 4 * _KIB
    per_connection: int | None = None
    recipients: int = 1
    domains: int = 1
    tls: Tls = Tls.NONE

    def plan(self, port: int, *, seconds: float | None, messages: int | None) -> LoadPlan:
        """Return the load that does this work on a port of this machine."""
        names = [f"d{number}.far.example" for number in range(self.domains)]
        return LoadPlan(
            host="127.0.0.1",
            port=port,
            seconds=seconds,
            messages=messages,
            sizes=((self.octets, 1.0),),
            per_connection=self.per_connection,
            recipients=self.recipients,
            domains=names,
            tls=self.tls,
            context=tls_context(True, None) if self.tls is not Tls.NONE else None,
        )


CASES: Sequence[Case] = (
    Case("4KiB-kept", "4 KiB, each session keeps its connection"),
    Case("4KiB-new", "4 KiB, a new connection for each message", per_connection=1),
    Case("100KiB-kept", "100 KiB, connections kept", octets=100 * _KIB),
    Case(
        "4KiB-STARTTLS",
        "4 KiB under TLS 1.3, ten messages on each connection",
        per_connection=10,
        tls=Tls.STARTTLS,
    ),
    Case("4KiB-1000-domains", "4 KiB, a thousand recipients' domains in turn", domains=1000),
    Case("4KiB-10-recipients", "4 KiB to ten recipients of one domain", recipients=10),
)
