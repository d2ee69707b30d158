"""
The scenario of one seed: its processes, destinations, mail and faults, drawn before it begins.

Scenarios are small on purpose: a few messages are enough to show a fault's effect, and many seeds
find more than much mail does. In every fourth seed, all mail comes at once to one destination, so
that it waits there. In every eighth seed, hosts close connections with 421; half of these are also
of the former kind. In another eighth, hosts allow one or two sessions and refuse more, or send
nothing on some connections. Times are in seconds, and shorter than in production, except those of
leases and sessions.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_network

from postroad.mail.traffic import TrafficClass
from postroad.manifests.compiler.result import Compiled
from postroad.policy.model import (
    Client,
    EgressPath,
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    Rate,
    Relay,
    RetrySchedule,
    SiteLimits,
    SubjectKind,
    TlsMode,
)
from postroad_harness.simulation.hosts import Temper, Whim

SENDER_DOMAIN = "near.example"
NETWORK = "192.0.2.0/24"
RETRY = RetrySchedule(
    first=timedelta(seconds=15),
    factor=1.5,
    longest=timedelta(seconds=60),
    lifetime=timedelta(seconds=240),
    delay_warning=timedelta(seconds=120),
)
_CLOSING = (7, 9)  # of every 16 seeds
_REFUSING, _MUTE = 11, 5
_WHIMS = [whim for whim in Whim if whim is not Whim.CLOSES]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to be sent in: when, by whom, to whom, how large."""

    token: str
    at: float
    sender: str  # "" for the null reverse-path
    recipients: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """One seed's play. `fault_every` are busy steps between faults, on the average."""

    seed: int
    ingresses: int
    deliveries: int
    tempers: dict[str, Temper]  # by domain
    letters: tuple[Letter, ...]
    limits: SiteLimits
    quota: int
    room: int  # records in the hands of one delivery process
    fault_every: float
    faults: int
    fault_kinds: tuple[str, ...] = ()  # of all when there are none
    fault_role: str = ""  # what the names of those begin with that are hit
    pauses: tuple[float, ...] = (0.5, 5.0, 14.0, 18.0, 25.0, 45.0)  # seconds
    mutes: tuple[float, ...] = (0.1, 2.0, 9.0)  # seconds
    fault_at_store: float = 0.0  # of the deferrals that are stored: as many kill their process
    fault_at_fire: float = 0.0  # of the schedules that fire: with as many the servers are killed
    joins: float | None = None  # when another delivery process starts; seconds
    falls: float | None = None  # when all servers are restarted; seconds
    drains: float | None = None  # when a delivery process is asked to stop; seconds
    silent: float | None = None  # when they do nothing for a while; seconds
    pools: tuple[str, ...] = ("default",)  # of delivery processes, in turn
    # Domains with the host of another one; of several, each answer of the DNS names one.
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    renamed: float | None = None  # when Relays name these pools, and no longer another; seconds
    retried: float | None = None  # how often a person has all that is deferred tried; seconds
    quota_window: timedelta = timedelta(seconds=20)
    excused: bool = True  # limits may be passed by several processes after a fault

    @property
    def objects(self) -> Compiled:
        """The configuration it is played under."""
        key = ObjectKey("shop", "net")
        relay = ObjectKey("shop", "out") if len(self.pools) == 1 else None
        client = Client(
            key,
            networks=(ip_network(NETWORK),),
            senders=(f"*@{SENDER_DOMAIN}",),
            relay=relay,
            traffic_class=TrafficClass.TRANSACTIONAL if self.seed % 2 else TrafficClass.BULK,
        )
        relays = {f"relay.shop.{each.key.name}": each for each in self._relays()}
        limit = QuotaLimit(QuotaUnit.MESSAGES, self.quota, self.quota_window)
        each_client = QuotaSubject(SubjectKind.CLIENT, "*/*")
        quota = Quota(ObjectKey("shop", "few"), each_client, (limit,))
        return Compiled({"client.shop.net": client, **relays, "quota.shop.few": quota})

    @property
    def first_objects(self) -> Compiled:
        """The configuration it begins under."""
        return self.objects if self.renamed is None else replace(self, pools=("gone",)).objects

    def _relays(self) -> Iterator[Relay]:
        """Yield a Relay for each pool: the first for all mail but that of the others' domain."""
        for number, pool in enumerate(self.pools):
            name = f"out{number or ''}"
            egress_path = EgressPath(
                f"relay:shop/{name}", tls=TlsMode.NONE, retry=RETRY, limits=self.limits, pool=pool
            )
            destinations = (f"d{number}.example",) if number else ("*",)
            yield Relay(ObjectKey("shop", name), destinations, egress_path)


def draw_by_chance(seed: int) -> Scenario:
    """Return what a seed plays when it is made for nothing."""
    dice = random.Random(seed)
    domains = [f"d{number}.example" for number in range(dice.randint(1, 3))]
    tempers = {domain: _temper(dice, domain) for domain in domains}
    tempers[SENDER_DOMAIN] = Temper(bad=dice.choice([0.0, 0.0, 0.3]), whims=(Whim.DEFERS,))
    in_line = seed % 4 == 3
    if seed % 16 in _CLOSING:
        for temper in tempers.values():
            temper.whims = (Whim.CLOSES, temper.whims[0])
            temper.bad = max(temper.bad, 0.3)
    if seed % 16 in (_REFUSING, _MUTE):
        _make_unwelcoming(tempers, seed)
    if in_line:
        letters = [letter(dice, n, domains[:1], 2.0) for n in range(dice.randint(6, 14))]
    else:
        letters = [letter(dice, n, domains, 20.0) for n in range(dice.randint(3, 8))]
    return Scenario(
        seed=seed,
        ingresses=dice.choice([1, 1, 2]),
        deliveries=dice.choice([1, 2, 2, 3]),
        tempers=tempers,
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(
            connections=dice.choice([1, 2] if in_line else [1, 2, 5]),
            messages_per_connection=dice.choice([1, 2, 100]),
            message_rate=dice.choice([None, None, Rate(2, timedelta(seconds=5))]),
        ),
        quota=dice.choice([100] * 3 if in_line else [3, 5, 100]),
        room=dice.choice([2, 3, 8]),
        fault_every=dice.choice([15.0, 50.0, 150.0]),
        faults=dice.choice([0, 1, 2, 4, 8]),
    )


def _temper(dice: random.Random, domain: str) -> Temper:
    return Temper(
        bad=dice.choice([0.0, 0.3, 0.6]),
        whims=tuple(dice.sample(_WHIMS, 2)),
        rcpt_bad=dice.choice([0.0, 0.0, 0.3]),
        slow=dice.choice([0.0, 0.05, 1.0, 15.0]),
        unreachable=dice.choice([0.0, 0.0, 0.3]),
        pipelining=dice.random() < 0.7,
        always_refuses=frozenset({f"nobody@{domain}"}),
    )


def _make_unwelcoming(tempers: dict[str, Temper], seed: int) -> None:
    dice = random.Random(seed + 2)  # its own: what else is drawn of a seed stays as it was
    for temper in tempers.values():
        if seed % 16 == _REFUSING:
            temper.bears = dice.choice([1, 2])
        else:
            temper.mute = dice.choice([0.3, 0.9])


def letter(dice: random.Random, number: int, domains: list[str], within: float) -> Letter:
    """Draw a message to some of these domains that is sent within so many seconds."""
    people = [f"{who}@{domain}" for domain in domains for who in ("ann", "bob", "nobody")]
    return Letter(
        token=f"m{number}",
        at=dice.uniform(0.0, within),
        sender="" if dice.random() < 0.1 else f"shop@{SENDER_DOMAIN}",
        recipients=tuple(dice.sample(people, dice.randint(1, min(3, len(people))))),
        size=dice.choice([100, 100, 3000]),
    )
