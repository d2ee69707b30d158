"""
Scenarios made for situations that random seeds meet once in thousands, or never.

The seed decides everything else.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from postroad.policy.model import Rate, SiteLimits
from postroad_harness.simulation.hosts import Temper, Whim
from postroad_harness.simulation.packs.mail import for_packs
from postroad_harness.simulation.scenario import (
    SENDER_DOMAIN,
    Letter,
    Scenario,
    draw_by_chance,
    letter,
)


class Aim(StrEnum):
    """The situation that a scenario is made for."""

    LEASES = "leases"  # an attempt ends after its lease has, and the mail was deferred
    SETTLING = "settling"  # processes die between storing a record's successor and acknowledging it
    FIRING = "firing"  # servers are killed as a schedule fires: after its copy is stored
    SCALING = "scaling"  # another process joins while mail waits in line for a slow host
    MANY = "many"  # mail for more than a slow host takes at once; delivery processes crash
    POOLS = "pools"  # one host is sent to by Relays of two pools, whose processes crash and stop
    QUOTAS = "quotas"  # under a quota, clients resend mail that was stored without an answer
    RETRIED = "retried"  # records whose processes died while deferring them are retried by order
    RENAMED = "renamed"  # Relays name another pool than mail is in, and delivery processes crash
    DRAINED = "drained"  # a process stops, and another joins, as the servers are restarted
    FORGOTTEN = "forgotten"  # another process joins as the servers lose their memory
    PACKS = "packs"  # mail that is stored together, of which some ends long before the rest
    ALTERNATING = "alternating"  # each look-up of a domain finds another host than the last


def draw(seed: int, aim: Aim | None = None) -> Scenario:
    """Return the scenario of a seed, made for `aim` if one is given."""
    drawn = draw_by_chance(seed)
    if aim is None:
        return drawn
    dice = random.Random(seed + 3)
    return _MADE_FOR[aim](drawn, dice)


def _for_leases(drawn: Scenario, dice: random.Random) -> Scenario:
    """Hosts that answer late and then defer; a process that is paused while it waits for them."""
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
    """Hosts that defer at first; about every third deferral kills its process."""
    domains = [f"d{number}.example" for number in range(3)]
    temper = Temper(bad=0.7, whims=(Whim.DEFERS,), rcpt_bad=dice.choice([0.0, 0.3]))
    letters = [letter(dice, number, domains, 20.0) for number in range(10)]
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


def _for_retried(drawn: Scenario, dice: random.Random) -> Scenario:
    """The same; and an operator orders a retry of all deferred mail every few seconds."""
    return replace(_for_settling(drawn, dice), retried=dice.choice([2.0, 4.0]))


def _for_firing(drawn: Scenario, dice: random.Random) -> Scenario:
    """Hosts that defer at first; about every third schedule that fires kills the servers."""
    return replace(_for_settling(drawn, dice), faults=4, fault_at_store=0.0, fault_at_fire=0.3)


def _for_scaling(drawn: Scenario, dice: random.Random) -> Scenario:
    """Slow hosts, one connection each, much mail; one process more, and servers deaf just then."""
    domains = [f"d{number}.example" for number in range(3)]
    tempers = dict.fromkeys(domains, Temper(slow=15.0)) | {SENDER_DOMAIN: Temper()}
    letters = [letter(dice, number, [dice.choice(domains)], 40.0) for number in range(40)]
    joins = dice.uniform(8.0, 14.0)
    return replace(
        drawn,
        deliveries=1,
        tempers=tempers,
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(connections=1, messages_per_connection=1, message_rate=None),
        quota=100,
        room=40,
        faults=0,
        joins=joins,
        silent=dice.choice([None, joins + dice.uniform(0.5, 9.0)]),  # as lanes change hands
    )


def _for_many(drawn: Scenario, dice: random.Random) -> Scenario:
    """Hosts that take two recipients of eight at once, and more than a second for each two."""
    domains = [f"d{number}.example" for number in range(2)]
    bad = dice.choice([0.0, 0.3])
    temper = Temper(bad=bad, rcpt_bad=bad, slow_from=1.2, slow=3.0, takes_at_once=2)
    letters = tuple(
        Letter(
            f"m{number}",
            dice.uniform(0.0, 20.0),
            f"shop@{SENDER_DOMAIN}",
            tuple(f"p{person}@{domains[number % 2]}" for person in range(8)),
            dice.choice([100, 3000]),
        )
        for number in range(6)
    )
    return replace(
        drawn,
        ingresses=1,
        deliveries=dice.choice([1, 2]),
        tempers=dict.fromkeys(domains, temper) | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(
            connections=dice.choice([1, 5]),
            messages_per_connection=dice.choice([1, 100]),
            message_rate=None,
        ),
        quota=100,
        room=8,
        faults=3,
        fault_every=dice.choice([100.0, 200.0]),
        fault_at_store=dice.choice([0.0, 0.2]),
        fault_kinds=("crash",),
        fault_role="delivery",
    )


def _for_pools(drawn: Scenario, dice: random.Random) -> Scenario:
    """Two domains with one host, a pool for each, much mail, and few connections or messages."""
    domains = ["d0.example", "d1.example"]
    letters = [letter(dice, number, [dice.choice(domains)], 30.0) for number in range(30)]
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
        hosts={"d1.example": ("d0.example",)},
        excused=False,
    )


def _for_quotas(drawn: Scenario, dice: random.Random) -> Scenario:
    """Much mail for a long window, and servers that say nothing for longer than anybody waits."""
    domains = ["d0.example", "d1.example"]
    within = dice.choice([0.2, 1.0])
    letters = [letter(dice, number, domains, within) for number in range(24)]
    return replace(
        drawn,
        ingresses=dice.choice([1, 2]),
        deliveries=1,
        tempers=dict.fromkeys(domains, Temper()) | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        quota=dice.choice([4, 6, 8]),
        quota_window=timedelta(seconds=3600),
        room=8,
        faults=2,
        fault_every=dice.choice([10.0, 30.0]),
        fault_kinds=("mute",),
        fault_role="ingress",
        mutes=(22.0, 25.0),  # an ingress process waits for 20
    )


def _for_renamed(drawn: Scenario, dice: random.Random) -> Scenario:
    """Mail that is deferred in a pool without processes, which soon no Relay names any more."""
    domains = ["d0.example", "d1.example"]
    temper = Temper(bad=0.6, whims=(Whim.DEFERS,), slow=dice.choice([0.05, 1.0]))
    letters = [letter(dice, number, domains, 15.0) for number in range(12)]
    return replace(
        drawn,
        ingresses=1,
        deliveries=dice.choice([1, 2]),
        tempers=dict.fromkeys(domains, temper) | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        quota=100,
        room=8,
        faults=6,
        fault_every=dice.choice([30.0, 60.0]),
        fault_kinds=("crash",),
        fault_role="delivery",
        renamed=dice.uniform(3.0, 10.0),
    )


def _for_forgotten(drawn: Scenario, dice: random.Random) -> Scenario:
    """Servers that are restarted while mail waits in line, and then one process more."""
    domains = [f"d{number}.example" for number in range(4)]
    letters = [letter(dice, number, [dice.choice(domains)], 40.0) for number in range(60)]
    falls = dice.uniform(8.0, 14.0)
    return replace(
        drawn,
        ingresses=1,
        deliveries=1,
        tempers=dict.fromkeys(domains, Temper(slow=3.0)) | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(connections=1, messages_per_connection=1, message_rate=None),
        quota=100,
        room=dice.choice([4, 40]),
        faults=0,
        falls=falls,
        joins=falls + dice.uniform(-0.5, 2.0),
        excused=False,
    )


def _for_drained(drawn: Scenario, dice: random.Random) -> Scenario:
    """Servers that are restarted just as one of two processes stops: it ends what it has begun."""
    forgotten = _for_forgotten(drawn, dice)
    assert forgotten.falls is not None
    return replace(
        forgotten,
        deliveries=2,
        joins=dice.choice([None, forgotten.joins]),
        drains=forgotten.falls + dice.uniform(-2.0, 2.0),
    )


def _for_alternating(drawn: Scenario, dice: random.Random) -> Scenario:
    """Slow hosts, of which each answer for any domain names one; at times one process more."""
    domains = [f"d{number}.example" for number in range(dice.choice([2, 3]))]
    letters = [letter(dice, number, [dice.choice(domains)], 40.0) for number in range(40)]
    return replace(
        drawn,
        ingresses=1,
        deliveries=dice.choice([2, 3]),
        tempers=dict.fromkeys(domains, Temper(slow=dice.choice([1.0, 3.0])))
        | {SENDER_DOMAIN: Temper()},
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(
            connections=dice.choice([1, 2]),
            messages_per_connection=dice.choice([1, 100]),
            message_rate=dice.choice([None, Rate(2, timedelta(seconds=5))]),
        ),
        quota=100,
        room=dice.choice([8, 40]),
        faults=0,
        joins=dice.choice([None, dice.uniform(5.0, 30.0)]),
        hosts=dict.fromkeys(domains, domains),
        excused=False,
    )


_MADE_FOR: Mapping[Aim, Callable[[Scenario, random.Random], Scenario]] = {
    Aim.LEASES: _for_leases,
    Aim.SETTLING: _for_settling,
    Aim.FIRING: _for_firing,
    Aim.SCALING: _for_scaling,
    Aim.MANY: _for_many,
    Aim.POOLS: _for_pools,
    Aim.QUOTAS: _for_quotas,
    Aim.RETRIED: _for_retried,
    Aim.RENAMED: _for_renamed,
    Aim.FORGOTTEN: _for_forgotten,
    Aim.DRAINED: _for_drained,
    Aim.ALTERNATING: _for_alternating,
    Aim.PACKS: for_packs,
}
