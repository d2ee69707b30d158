"""Scenarios in which mail comes together, and so is stored together, in packs."""

import random
from dataclasses import replace

from postroad.policy.model import SiteLimits
from postroad_harness.simulation.hosts import Temper, Whim
from postroad_harness.simulation.scenario import SENDER_DOMAIN, Letter, Scenario

_SLOW, _QUICK, _MOODY = _DOMAINS = ("p1.example", "p2.example", "p7.example")  # all in one lane


def for_packs(drawn: Scenario, dice: random.Random) -> Scenario:
    """
    Bursts of mail to a slow host, a quick one, and one that defers; faults of all kinds.

    So packs are open for long, with records that have ended, wait and were deferred.
    """
    tempers = {
        _SLOW: Temper(slow=dice.choice([5.0, 15.0, 30.0])),
        _QUICK: Temper(slow=0.05),
        _MOODY: Temper(bad=0.6, whims=(Whim.DEFERS, Whim.REFUSES), slow=0.05),
        SENDER_DOMAIN: Temper(),
    }
    letters = [
        _letter(dice, number, burst)
        for burst in range(dice.choice([1, 2, 3]))
        for number in range(dice.choice([6, 12, 18]))
    ]
    joins = dice.choice([None, None, dice.uniform(1.0, 15.0)])
    return replace(
        drawn,
        ingresses=dice.choice([1, 2]),
        deliveries=dice.choice([1, 2, 3]),
        tempers=tempers,
        letters=tuple(sorted(letters, key=lambda letter: letter.at)),
        limits=SiteLimits(
            connections=dice.choice([1, 2, 5]),
            messages_per_connection=dice.choice([1, 100]),
            message_rate=None,
        ),
        quota=100,
        room=dice.choice([4, 8, 40]),
        faults=dice.choice([1, 2, 4, 6]),
        fault_every=dice.choice([60.0, 150.0, 400.0]),
        fault_kinds=dice.choice([(), ("crash",), ("crash",), ("pause",), ("crash", "stop")]),
        fault_role=dice.choice(["", "delivery", "delivery"]),
        joins=joins,
        drains=dice.choice([None, None, dice.uniform(1.0, 15.0)]),
        silent=dice.choice([None, None, dice.uniform(1.0, 15.0)]),
        falls=dice.choice([None, None, dice.uniform(1.0, 15.0)]),
    )


def _letter(dice: random.Random, number: int, burst: int) -> Letter:
    people = [f"{who}@{domain}" for domain in _DOMAINS for who in ("ann", "bob")]
    recipients = tuple(dice.sample(people, dice.choice([1, 1, 1, 2])))
    return Letter(f"m{burst}-{number}", 6.0 * burst, f"shop@{SENDER_DOMAIN}", recipients, 100)
