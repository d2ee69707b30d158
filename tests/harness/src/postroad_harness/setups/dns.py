"""Names and a clock for tests of the resolver."""

from postroad.testing.peers.dns_server import Table
from postroad.testing.peers.dns_server import ZoneFault as Fault

TABLE: Table = {
    "x.example": ["MX 20 B.x.example.", "MX 5 a.x.example.", "A 192.0.2.1"],
    "a.x.example": ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"],
    "mapped.example": ["AAAA ::ffff:192.0.2.1", "A 192.0.2.1"],
    "null.example": ["MX 0 ."],
    "empty.example": ["A 192.0.2.9"],
    "broken.example": Fault.SERVFAIL,
    "silent.example": Fault.SILENCE,
}


class Clock:
    """The resolver's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
