"""
Shares the connections of a site among the processes that own it.

If Relays of two pools send to a site, it has an owner in each pool. All owners claim a portion of
the site's connections in one record, which is changed by compare-and-set, so that the portions
never exceed the limit. A single owner gets all connections. If others want more, each gets an even
part, and gives up the rest as its connections end.

These are pure functions from record to record. The claim of a dead process is void; the caller
leaves it out.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from postroad.policy.model import Rate, SiteLimits


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The claim of one process on a site: it `holds` connections, and perhaps `wants` more.

    `outdated`: its Relay's limits were edited and it has sent nothing since, so its limits do not
    count.
    """

    owner: str
    limits: SiteLimits  # the largest of its egress paths'
    holds: int
    wants: bool
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class SiteDemand:
    """
    The demand of one process at a site.

    It has `busy` connections in use and `idle` ones kept open. `held` is the number that it held
    last. `outdated` is as in `Claim`.
    """

    owner: str
    limits: SiteLimits
    busy: int
    wants: bool
    held: int = 0
    idle: int = 0
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class SitePortion:
    """The record to write, and what the process may use from now on."""

    claims: tuple[Claim, ...]
    connections: int
    limits: SiteLimits  # of all together


def portioned(claims: Sequence[Claim], demand: SiteDemand, *, certain: bool = True) -> SitePortion:
    """
    Return a process's portion of a site, and the record with its claim.

    Claims are in the order in which their owners are served. `certain` says that the record has all
    claims. After a loss of the record, until all claims are written again, nobody gets more than it
    held.
    """
    known = next((claim for claim in claims if claim.owner == demand.owner), None)
    others = [claim for claim in claims if claim.owner != demand.owner]
    held = demand.held if not certain else known.holds if known is not None else 0
    said = [claim.limits for claim in others if not claim.outdated]
    if not demand.outdated or not said:
        said.append(demand.limits)
    limits = largest(said)
    left = max(0, limits.connections - sum(claim.holds for claim in others))
    mine = Claim(demand.owner, demand.limits, held, demand.wants)
    line = _in_line(claims, mine)
    if any(claim.wants for claim in others):
        line, part = _even_part(line, mine, demand.busy, limits.connections)
    else:
        part = left if demand.wants or not others else min(held, left)
    if part > held:
        holds = max(held, min(part, left)) if certain else held
    else:
        holds = max(part, min(held, demand.busy + demand.idle))
    wants = demand.wants and holds < limits.connections
    mine = Claim(demand.owner, demand.limits, holds, wants, demand.outdated)
    return SitePortion(_in_line(line, mine), min(holds, part), limits)


def without(claims: Iterable[Claim], owner: str) -> tuple[Claim, ...]:
    """Return the claims without those of a process that has nothing more to send to the site."""
    return tuple(claim for claim in claims if claim.owner != owner)


def largest(limits: Iterable[SiteLimits]) -> SiteLimits:
    """Return limits whose every value is the largest of the given ones."""
    several = list(limits)
    if len(several) == 1:
        return several[0]
    rates = [each.message_rate for each in several]
    return SiteLimits(
        connections=max(each.connections for each in several),
        messages_per_connection=max(each.messages_per_connection for each in several),
        message_rate=_highest([rate for rate in rates if rate]) if all(rates) else None,
    )


def slower(one: Rate | None, other: Rate | None) -> Rate | None:
    """Return the lower of two rates; None is no limit."""
    rates = [rate for rate in (one, other) if rate is not None]
    return min(rates, key=_per_second, default=None)


def _highest(rates: list[Rate]) -> Rate:
    return max(rates, key=_per_second)


def _per_second(rate: Rate) -> float:
    return rate.count / rate.window.total_seconds()


def _in_line(claims: Sequence[Claim], mine: Claim) -> tuple[Claim, ...]:
    """Return the claims with ours in its place, or at the end if it is new."""
    if all(claim.owner != mine.owner for claim in claims):
        return (*claims, mine)
    return tuple(mine if claim.owner == mine.owner else claim for claim in claims)


def _even_part(
    line: tuple[Claim, ...], mine: Claim, busy: int, total: int
) -> tuple[tuple[Claim, ...], int]:
    """Return our even part, and the claims: we go behind owners that wait and have nothing."""
    parts = _even(line, mine, busy, total)
    if mine.holds and any(c.wants and not c.holds and not parts[c.owner] for c in line):
        line = (*without(line, mine.owner), mine)
        parts = _even(line, mine, busy, total)
    return line, parts[mine.owner]


def _even(line: Sequence[Claim], mine: Claim, busy: int, total: int) -> dict[str, int]:
    """Share `total` evenly, with no part above its demand; a remainder goes to the first claims."""
    asks = {claim.owner: total if claim.wants else claim.holds for claim in line}
    if not mine.wants:
        asks[mine.owner] = busy
    parts = dict.fromkeys(asks, 0)
    while total and (hungry := [owner for owner, ask in asks.items() if parts[owner] < ask]):
        each = max(1, total // len(hungry))
        for owner in hungry:
            more = min(each, asks[owner] - parts[owner], total)
            parts[owner] += more
            total -= more
    return parts


# ---------------------------------------------------------------- as bytes


def encode(site: str, claims: Iterable[Claim]) -> bytes:
    """Encode a site's record."""
    return json.dumps({"site": site, "claims": [_written(claim) for claim in claims]}).encode()


def decode(record: bytes) -> tuple[str, tuple[Claim, ...]]:
    """Decode a record; one in the format of another release counts as empty."""
    try:
        said = json.loads(record)
        return str(said["site"]), tuple(_read(claim) for claim in said["claims"])
    except (ValueError, KeyError, TypeError):
        return "", ()


def _written(claim: Claim) -> dict[str, Any]:
    rate = claim.limits.message_rate
    return {
        "owner": claim.owner,
        "connections": claim.limits.connections,
        "perConnection": claim.limits.messages_per_connection,
        "rate": [rate.count, rate.window.total_seconds()] if rate is not None else None,
        "holds": claim.holds,
        "wants": claim.wants,
        "outdated": claim.outdated,
    }


def _read(said: dict[str, Any]) -> Claim:
    rate = said["rate"]
    limits = SiteLimits(
        connections=int(said["connections"]),
        messages_per_connection=int(said["perConnection"]),
        message_rate=Rate(int(rate[0]), timedelta(seconds=rate[1])) if rate else None,
    )
    holds, wants = int(said["holds"]), said["wants"] is True
    return Claim(str(said["owner"]), limits, holds, wants, said.get("outdated") is True)
