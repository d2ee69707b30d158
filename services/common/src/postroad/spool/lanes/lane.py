"""
Chooses the lane of a record: FNV-1a of its site, else of its domain, modulo the number of lanes.

nats-server uses the same hash in subject transforms, so it could compute a lane as well.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from postroad.spool.record import QueueRecord


def fnv1a32(text: str) -> int:
    """Return the 32-bit FNV-1a hash of a text's UTF-8 octets."""
    value = 0x811C9DC5
    for octet in text.encode("utf-8", "surrogateescape"):
        value = ((value ^ octet) * 0x01000193) & 0xFFFFFFFF
    return value


@lru_cache(maxsize=16384)
def tail_lane(name: str, lanes: int) -> str:
    """Return the lane of a site or domain, out of `lanes` ones: `p00`, `p01` …"""
    return _named(fnv1a32(name) % lanes)


def lane_names(lanes: int) -> Sequence[str]:
    """Return the names of `lanes` lanes."""
    return [_named(number) for number in range(lanes)]


def in_rows(lanes: Iterable[str]) -> str:
    """Return names of lanes in a short form for people: `p00-p07 p12`."""
    rows: list[list[int]] = []
    for number in sorted(int(lane[1:]) for lane in lanes):
        if rows and rows[-1][-1] == number - 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return " ".join("-".join(map(_named, dict.fromkeys((row[0], row[-1])))) for row in rows)


def _named(number: int) -> str:
    return f"p{number:02d}"


def lane_of(record: QueueRecord, lanes: int) -> str:
    """Return the lane of a record: by its site if that is known, else by its domain."""
    return tail_lane(record.site or record.domain, lanes)
