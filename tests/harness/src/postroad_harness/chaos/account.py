"""
The account of a chaos run: accepted and arrived messages, duplicates, and times.

The take-up of a kill is the longest wait of a message, from the kill or from the message's own
`250`, whichever is later. It looks only at hops that accept all mail at once. Two kinds of messages
count: those accepted before the kill that had not arrived, because the dead process had them in
hand, and those accepted in the second after the kill, which wait for a new owner. Several kills in
a row make it longer; it is not corrected for that.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from postroad.spool.ids import shard_of

_MARK = b"queued as "
_AFTER = 1.0  # seconds after a kill in which accepted mail is looked at too
_WARM = 30  # messages accepted before the first kill


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL: its time on the monotonic clock, and the kind of process."""

    at: float
    kind: str
    name: str


@dataclass
class Ledger:
    """The accepted messages, noted during the run."""

    accepted: dict[int, float] = field(default_factory=dict)  # by number
    shards: dict[int, int] = field(default_factory=dict)  # by number, as told in the reply
    ambiguous: set[int] = field(default_factory=set)
    kills: list[Kill] = field(default_factory=list)
    warm: asyncio.Event = field(default_factory=asyncio.Event)  # enough to begin to kill

    def accept(self, number: int, now: float, reply: bytes) -> None:
        """Note a message that was answered by 250."""
        self.accepted[number] = now
        if len(self.accepted) >= _WARM:
            self.warm.set()
        queue_id = reply.partition(_MARK)[2].split(b" ")[0].decode("ascii", "replace")
        if queue_id:
            self.shards[number] = shard_of(queue_id)

    def missing(self, arrivals: Mapping[int, list[float]]) -> set[int]:
        """Return the accepted messages that have not arrived."""
        return self.accepted.keys() - arrivals.keys()


@dataclass(frozen=True, slots=True)
class ChaosFigures:
    """The account; durations in seconds."""

    what: str
    seconds: float
    kills: dict[str, int]  # by kind of process
    accepted: int
    delivered: int
    lost: int
    duplicated: int  # messages that arrived more than once
    ambiguous: int  # messages whose sender lost the connection behind the final dot
    ambiguous_delivered: int
    refused: int  # 4yz and 5yz to the sender
    connections_lost: int
    accept_gap: float  # the longest time in which the service accepted nothing
    shard_gap: float  # the same of the shard that did so longest
    delivery_gap: float  # the longest time in which nothing arrived
    take_up_p50: float
    take_up_p99: float
    take_up: list[float]  # of each kill of a delivery process
    drained_in: float  # from the last message until all had arrived
    hops: dict[str, int]  # what the troubled hops did

    def as_json(self) -> dict[str, object]:
        """Return the figures by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Ending:
    """The facts that only the run itself knows at its end."""

    what: str
    began: float
    ended: float  # the load's end
    drained: float
    refused: int
    connections_lost: int
    hops: dict[str, int]


def settle(
    ledger: Ledger,
    arrivals: Mapping[int, list[float]],
    plain: Iterable[int],
    ending: Ending,
) -> ChaosFigures:
    """Return the account; `plain` are the messages for hops that accept all mail at once."""
    tried = ledger.accepted.keys() | ledger.ambiguous
    take_up = sorted(_take_up(ledger, arrivals, set(plain)))
    kinds = sorted({kill.kind for kill in ledger.kills})
    times = ledger.accepted
    within = (ending.began, ending.ended)
    shards = set(ledger.shards.values())
    return ChaosFigures(
        what=ending.what,
        seconds=ending.ended - ending.began,
        kills={kind: sum(kill.kind == kind for kill in ledger.kills) for kind in kinds},
        accepted=len(ledger.accepted),
        delivered=len(ledger.accepted.keys() & arrivals.keys()),
        lost=len(ledger.missing(arrivals)),
        duplicated=sum(len(arrivals.get(number, ())) > 1 for number in tried),
        ambiguous=len(ledger.ambiguous),
        ambiguous_delivered=len(ledger.ambiguous & arrivals.keys()),
        refused=ending.refused,
        connections_lost=ending.connections_lost,
        accept_gap=gap(times.values(), *within),
        shard_gap=max(
            (gap((times[n] for n, s in ledger.shards.items() if s == shard), *within))
            for shard in shards
        )
        if shards
        else 0.0,
        delivery_gap=gap((at for seen in arrivals.values() for at in seen), *within),
        take_up_p50=percentile(take_up, 0.5),
        take_up_p99=percentile(take_up, 0.99),
        take_up=[round(each, 3) for each in take_up],
        drained_in=ending.drained - ending.ended,
        hops=ending.hops,
    )


def _take_up(
    ledger: Ledger, arrivals: Mapping[int, list[float]], plain: set[int]
) -> Iterable[float]:
    """Yield the take-up of each kill of a delivery process that left mail behind."""
    for kill in ledger.kills:
        if kill.kind != "delivery":
            continue
        waits = [
            arrivals[number][0] - max(kill.at, at)
            for number, at in ledger.accepted.items()
            if number in plain
            and at <= kill.at + _AFTER
            and number in arrivals
            and arrivals[number][0] > kill.at
        ]
        if waits:
            yield max(waits)


def gap(times: Iterable[float], began: float, ended: float) -> float:
    """Return the longest time between two of `times` from `began` to `ended`, these included."""
    ordered = sorted([began, ended, *(at for at in times if began < at < ended)])
    return max(b - a for a, b in itertools.pairwise(ordered))


def percentile(ordered: list[float], share: float) -> float:
    """Return the value that `share` of an ordered list do not exceed; 0 for an empty one."""
    if not ordered:
        return 0.0
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
