"""
What one seed plays: its processes, destinations, mail and faults, drawn before it begins.

Small on purpose: what a fault breaks, it breaks with a few messages, and many seeds find more than
much mail does. In every fourth seed the mail comes at once and to one destination, so that it waits
in line there. In every eighth, half of them such, the hosts close connections with a 421; in every
other eighth they bear one session or two and refuse the next, or say nothing on some connections.
Times are seconds, shorter than in real life, but for those of leases and sessions.

A play may be aimed at something that seeds meet once in thousands.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_network

from postroad.mail.traffic import TrafficClass
from postroad.policy.compiled import Compiled
from postroad.policy.model import (
    Client,
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
    WayOut,
)
from postroad.testing.simulation.hosts import Temper, Whim

SENDER_DOMAIN = "near.example"
NETWORK = "192.0.2.0/24"
RETRY = RetrySchedule(
    first=timedelta(seconds=15),
    factor=1.5,
    longest=timedelta(seconds=60),
    lifetime=timedelta(seconds=240),
    delay_warning=timedelta(seconds=120),
)
QUOTA_WINDOW = timedelta(seconds=20)
_CLOSING = (7, 9)  # of every 16 seeds
_REFUSING, _MUTE = 11, 5
_WHIMS = [whim for whim in Whim if whim is not Whim.CLOSES]


class Aim(StrEnum):
    """What a play is made for, where its seed leaves it to chance."""

    LEASES = "leases"  # an attempt ends after its lease has, and the mail was deferred
    SETTLING = "settling"  # processes die between storing what follows and acknowledging
    SCALING = "scaling"  # another process joins while mail waits in line for a slow host
    POOLS = "pools"  # one host is sent to by Relays of two pools, whose processes crash and stop


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
    fault_at_store: float = 0.0  # of the deferrals that are stored: as many kill their process
    joins: float | None = None  # when another delivery process starts; seconds
    pools: tuple[str, ...] = ("default",)  # of delivery processes, in turn
    hosts: Mapping[str, str] = field(default_factory=dict)  # domains with the host of another one
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
            traffic_class=TrafficClass.EXPRESS if self.seed % 2 else TrafficClass.BULK,
        )
        relays = {f"relay.shop.{each.key.name}": each for each in self._relays()}
        limit = QuotaLimit(QuotaUnit.MESSAGES, self.quota, QUOTA_WINDOW)
        quota = Quota(ObjectKey("shop", "few"), QuotaSubject(SubjectKind.CLIENT), (limit,))
        return Compiled({"client.shop.net": client, **relays, "quota.shop.few": quota})

    def _relays(self) -> Iterator[Relay]:
        """Yield a Relay for each pool: the first for all mail but that of the others' domain."""
        for number, pool in enumerate(self.pools):
            name = f"out{number or ''}"
            way_out = WayOut(
                f"relay:shop/{name}", tls=TlsMode.NONE, retry=RETRY, limits=self.limits, pool=pool
            )
            destinations = (f"d{number}.example",) if number else ("*",)
            yield Relay(ObjectKey("shop", name), destinations, way_out)


def draw(seed: int, aim: Aim | None = None) -> Scenario:
    """Return the play of a seed, made for something if that is said."""
    drawn = _draw(seed)
    if aim is None:
        return drawn
    dice = random.Random(seed + 3)
    match aim:
        case Aim.LEASES:
            return _for_leases(drawn, dice)
        case Aim.SETTLING:
            return _for_settling(drawn, dice)
        case Aim.SCALING:
            return _for_scaling(drawn, dice)
        case Aim.POOLS:
            return _for_pools(drawn, dice)


def _for_leases(drawn: Scenario, dice: random.Random) -> Scenario:
    """Hosts that take long and then defer; a process that stands still while it waits for them."""
    domains = [f"d{number}.example" for number in range(6)]
    tempers = {
        domain: Temper(bad=0.5, whims=(Whim.DEFERS,), slow=38.0, slow_from=28.0)
        for domain in domains
    }
    people = [f"{who}@{domain}" for domain in domains for who in ("ann", "bob")]
    letters = tuple(
        Letter(f"m{number}", 0.05 * number, f"shop@{SENDER_DOMAIN}", (person,), 100)
        for number, person in enumerate(people)
    )
    return replace(
        drawn,
        ingresses=1,
        deliveries=2,
        tempers=tempers | {SENDER_DOMAIN: Temper()},
        letters=letters,
        limits=SiteLimits(connections=2, messages_per_connection=1, message_rate=None),
        quota=100,
        room=dice.choice([4, 6]),
        faults=1,
        fault_every=dice.choice([50.0, 100.0]),
        fault_kinds=("pause",),
        fault_role="delivery",
        pauses=(25.0,),  # the lease is over then, and the host has not answered yet
    )


def _for_settling(drawn: Scenario, dice: random.Random) -> Scenario:
    """Hosts that defer at first; a process that dies with each third deferral, some of them."""
    domains = [f"d{number}.example" for number in range(3)]
    temper = Temper(bad=0.7, whims=(Whim.DEFERS,), rcpt_bad=dice.choice([0.0, 0.3]))
    letters = [_letter(dice, number, domains, 20.0) for number in range(10)]
    return replace(
        drawn,
        deliveries=dice.choice([1, 2]),
        tempers=dict.fromkeys(domains, temper) | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(connections=5, messages_per_connection=100, message_rate=None),
        quota=100,
        room=8,
        faults=6,
        fault_every=1e9,  # steps: none but those
        fault_at_store=0.3,
    )


def _for_scaling(drawn: Scenario, dice: random.Random) -> Scenario:
    """Slow hosts, one connection each, mail that keeps coming; and then one process more."""
    domains = [f"d{number}.example" for number in range(3)]
    tempers = dict.fromkeys(domains, Temper(slow=15.0)) | {SENDER_DOMAIN: Temper()}
    letters = [_letter(dice, number, [dice.choice(domains)], 40.0) for number in range(40)]
    return replace(
        drawn,
        deliveries=1,
        tempers=tempers,
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(connections=1, messages_per_connection=1, message_rate=None),
        quota=100,
        room=40,
        faults=0,
        joins=dice.uniform(8.0, 14.0),
    )


def _for_pools(drawn: Scenario, dice: random.Random) -> Scenario:
    """Two domains with one host, a pool for each, much mail, and few connections or messages."""
    domains = ["d0.example", "d1.example"]
    letters = [_letter(dice, number, [dice.choice(domains)], 30.0) for number in range(30)]
    rate = Rate(dice.choice([1, 2, 5]), timedelta(seconds=5))
    return replace(
        drawn,
        ingresses=1,
        deliveries=dice.choice([2, 3, 4]),
        tempers=dict.fromkeys(domains, Temper(slow=dice.choice([0.5, 3.0])))
        | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(
            connections=dice.choice([1, 2, 3]),
            messages_per_connection=dice.choice([1, 100]),
            message_rate=dice.choice([None, rate]),
        ),
        quota=100,
        room=40,
        faults=dice.choice([0, 1, 3]),
        fault_every=dice.choice([50.0, 150.0]),
        fault_kinds=("crash", "stop"),
        fault_role="delivery",
        joins=dice.choice([None, dice.uniform(5.0, 25.0)]),
        pools=("default", "bulk"),
        hosts={"d1.example": "d0.example"},
        excused=False,
    )


def _draw(seed: int) -> Scenario:
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
        letters = [_letter(dice, n, domains[:1], 2.0) for n in range(dice.randint(6, 14))]
    else:
        letters = [_letter(dice, n, domains, 20.0) for n in range(dice.randint(3, 8))]
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
        quota=dice.choice([3, 5, 100]),
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


def _letter(dice: random.Random, number: int, domains: list[str], within: float) -> Letter:
    people = [f"{who}@{domain}" for domain in domains for who in ("ann", "bob", "nobody")]
    return Letter(
        token=f"m{number}",
        at=dice.uniform(0.0, within),
        sender="" if dice.random() < 0.1 else f"shop@{SENDER_DOMAIN}",
        recipients=tuple(dice.sample(people, dice.randint(1, min(3, len(people))))),
        size=dice.choice([100, 100, 3000]),
    )
