"""
Notes what happened, where it is certain: at the next hops, at the servers, at each fault.

It does not judge. `trace` is a digest of everything in order, by which two runs are compared.
"""

import zlib
from collections import defaultdict
from dataclasses import dataclass, field

EVERYTHING = "*"  # a trouble of the servers, and so of every process


@dataclass(frozen=True, slots=True)
class Received:
    """A message as a host saw it. `told`: the host answered its final dot. `report`: its Action."""

    token: str
    sender: str
    recipients: tuple[str, ...]
    caller: str
    began: float
    told: bool
    report: str
    reported: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that a host took for one recipient, in a transaction that began before."""

    began: float
    at: float
    caller: str
    told: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault: the process that it hit, and the time in which it may have an effect."""

    process: str
    kind: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Put:
    """
    A record that the servers stored, and by whom.

    `late`: it follows from one that its process has no more, and nobody made a mistake.
    """

    at: float
    process: str
    token: str
    record_id: str
    queue_id: str
    step: int
    domain: str
    late: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A record that was acknowledged to the servers as done."""

    at: float
    process: str
    record_id: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a message takes from one count of a quota, of which there are `maximum`."""

    key: str
    amount: int
    maximum: int


@dataclass
class Ledger:
    """Everything that happened in one seed."""

    copies: dict[tuple[str, str], list[Copy]] = field(default_factory=lambda: defaultdict(list))
    refused_for_good: set[tuple[str, str]] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)  # recipients refused at RCPT
    reports: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    accepted: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    puts: list[Put] = field(default_factory=list)
    ended_records: list[Ended] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    prices: dict[str, tuple[Price, ...]] = field(default_factory=dict)  # by queue id
    starts: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    crowds: list[tuple[float, str, tuple[tuple[float, str], ...]]] = field(default_factory=list)
    trace: int = 0
    _open: dict[object, tuple[str, float, str]] = field(default_factory=dict)

    def note(self, at: float, *what: object) -> None:
        """Add something to the trace."""
        self.trace = zlib.crc32(f"{at:.6f} {what}".encode(), self.trace)

    # ------------------------------------------------------------ at the hosts

    def began(self, session: object, site: str, caller: str, at: float) -> None:
        """A transaction began."""
        self._open[session] = (site, at, caller)
        self.starts[site].append((at, caller))
        together = tuple(each[1:] for each in self._open.values() if each[0] == site)
        self.crowds.append((at, site, together))
        self.note(at, "mail", site, caller)

    def ended(self, session: object) -> None:
        """A transaction is over."""
        self._open.pop(session, None)

    def took(self, received: Received, at: float) -> None:
        """A host took a message."""
        self.note(at, "took", received)
        for recipient in received.recipients:
            if received.report:
                if received.report == "failed":
                    for reported in received.reported:
                        self.reports[received.token, reported] += 1
            else:
                copy = Copy(received.began, at, received.caller, received.told)
                self.copies[received.token, recipient].append(copy)

    def refused(self, received: Received, at: float) -> None:
        """A host refused a message for good; a refused report counts as told."""
        self.note(at, "refused", received)
        for recipient in received.recipients:
            if received.report:
                for reported in received.reported:
                    self.reports[received.token, reported] += 1
            else:
                self.refused_for_good.add((received.token, recipient))

    # ------------------------------------------------------------ troubles

    def trouble(self, process: str, kind: str, start: float, end: float) -> None:
        """A fault was done."""
        self.note(start, "trouble", process, kind, end)
        self.troubles.append(Trouble(process, kind, start, end))

    def troubled(self, process: str, start: float, end: float) -> bool:
        """Whether a fault may have hit a process, or the servers, in a time."""
        return any(
            each.process in (process, EVERYTHING) and each.start <= end and each.end >= start
            for each in self.troubles
        )

    def restarted(self, start: float, end: float) -> bool:
        """Whether all servers were restarted in a time."""
        return any(
            each.kind == "restart" and each.start <= end and each.end >= start
            for each in self.troubles
        )
