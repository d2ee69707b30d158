"""
The names of the queue in NATS: streams, subjects, consumers. Untrusted text becomes one safe token.

In the intake:

- `pr.i.<shard>.<kind>.<pool>.<class>.<lane>.<domain>`: new mail; the kind is `r`, `s` or `h` as
  below. It has no id in the subject, because each distinct subject costs memory in every replica.
- `pr.i.<shard>.p<number>.<pool>.<class>.<lane>.<domain>`: a pack of so many ready records; the
  domain is `+` if they have several.

Where mail waits:

- `pr.q.<shard>.r.<pool>.<class>.<lane>.<domain>`: ready records.
- `pr.q.<shard>.r.<pool>.<class>.<lane>.<domain>.<record id>`: ready records that must be found by
  their id, because they waited for some minutes only (`spool.jetstream.publish.succession`).
- `pr.q.<shard>.s.<lane>.<domain>.<record id>`: deferred records.
- `pr.q.<shard>.h.<lane>.<domain>.<record id>`: held records.
- `pr.q.<shard>.e.i.<domain>.<record id>`: notes that a record in the intake has ended.

And apart from the records:

- `pr.d.<shard>.<blob id>.<number>`: a chunk of a body, as the only message there. The last chunk
  has `last` in place of the number; `ended` is the set of the body's ended destinations.
- `pr.b.<shard>.<blob id>`: all chunks of a body of an earlier release; with `.ended`, that set.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from postroad.mail.address import normalise_domain
from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId, arrival_of
from postroad.spool.interface import Deferred, Held, Put, Ready
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.owners import is_pool_name
from postroad.spool.puts.accepted import kind_in_intake
from postroad.spool.record import BlobRef, QueueRecord
from postroad.spool.selection import WaitKind

LAST = "last"  # at the end of the subject of a body's last chunk
ENDED = "ended"

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_CLASSES = frozenset(TrafficClass)
_REST = "w"  # in place of the class: what waited, of both classes
_STREAM = re.compile(r"POSTROAD_[IQ]_\d{1,4}", re.ASCII)
_PACK = re.compile(r"p([1-9]\d?)", re.ASCII)
SEVERAL = "+"  # in place of the domain of a pack; no domain's token has this character
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


@lru_cache(maxsize=16384)
def domain_token(domain: str) -> str:
    """Encode a domain as one token: dots become underscores, and underscores are escaped."""
    octets = domain.encode("utf-8", "surrogateescape")
    return "".join(chr(o) if o in _PLAIN else "_" if o == 0x2E else f"={o:02X}" for o in octets)


def domain_of(token: str) -> str:
    """Decode a token made by `domain_token`; ValueError for another one, or some domain."""
    plain = token.replace("_", ".")
    octets = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), plain).encode("latin-1")
    return octets.decode()


def stream_name(kind: QueueStream, shard: int) -> str:
    """Return the name of one of a shard's streams of records."""
    return f"POSTROAD_{kind.upper()}_{shard}"


def named_stream(name: str) -> tuple[QueueStream, int]:
    """Return the kind and the shard of a stream of records by its name."""
    _, kind, shard = name.split("_")
    return QueueStream(kind.lower()), int(shard)


def is_stream_of_records(name: str) -> bool:
    """Whether a name is that of a stream of records."""
    return _STREAM.fullmatch(name) is not None


def stream_of(subject: str) -> str:
    """Return the name of the stream of records that a subject belongs to."""
    _, kind, shard, _ = subject.split(".", 3)
    return stream_name(QueueStream(kind), int(shard))


def body_stream(shard: int, *, former: bool = False) -> str:
    """Return the stream of a shard's bodies; `former` means those of an earlier release."""
    return f"POSTROAD_{'BLOB' if former else 'BODY'}_{shard}"


def body_subject(shard: int, blob_id: str, *, former: bool = False) -> str:
    """Return what the subjects of a body begin with; with `former`, that of its chunks."""
    return f"pr.{'b' if former else 'd'}.{shard}.{blob_id}"


def chunk_subject(shard: int, blob_id: str, number: int | None) -> str:
    """Return the subject of a body's chunk; None is the last one."""
    return f"{body_subject(shard, blob_id)}.{LAST if number is None else number}"


def ended_subject(body: BlobRef) -> str:
    """Return the subject of the set of a body's ended destinations."""
    return f"{body_subject(body.shard, body.blob_id, former=body.former)}.{ENDED}"


def intake_subject(shard: int, record: QueueRecord, lane: str) -> str:
    """Return the subject of new mail."""
    kind, pool = kind_in_intake(record), pool_token(record.pool)
    return f"pr.i.{shard}.{kind}.{pool}.{record.traffic_class}.{lane}.{domain_token(record.domain)}"


def pack_subject(shard: int, records: Sequence[QueueRecord], lane: str) -> str:
    """Return the subject of a pack of records of one pool, class and lane."""
    first, domains = records[0], {record.domain for record in records}
    domain = domain_token(first.domain) if len(domains) == 1 else SEVERAL
    pool, count = pool_token(first.pool), len(records)
    return f"pr.i.{shard}.p{count}.{pool}.{first.traffic_class}.{lane}.{domain}"


def packed(subject: str) -> int:
    """Return how many records of new mail a message has by its subject, 0 if it is no pack."""
    found = _PACK.fullmatch(subject.split(".", 4)[3])
    return int(found[1]) if found is not None else 0


def intake_subjects(shard: int, lanes: Iterable[str]) -> list[str]:
    """
    Return the subjects that a shard's intake stores: of the lanes and classes that there are.

    A consumer takes no others, so they would be stored for good.
    """
    return [f"pr.i.{shard}.*.*.{each}.{lane}.*" for lane in lanes for each in TrafficClass]


def may_be_taken(subject: str, lanes: Collection[str]) -> bool:
    """Whether a subject of the intake is one that the consumer of a lane could take."""
    match subject.split("."):
        case ["pr", "i", _, _, pool, traffic, lane, _]:
            return is_pool_name(pool) and traffic in _CLASSES and lane in lanes
    return False


def end_subject(shard: int, record: QueueRecord) -> str:
    """Return the subject of the note that a record in the intake has ended."""
    return f"pr.q.{shard}.e.i.{domain_token(record.domain)}.{record.record_id}"


def ready_subject(shard: int, record: QueueRecord, lane: str, *, by_id: bool = False) -> str:
    """Return the subject of a ready record; with `by_id`, its id is at the end."""
    token = domain_token(record.domain)
    subject = f"pr.q.{shard}.r.{pool_token(record.pool)}.{record.traffic_class}.{lane}.{token}"
    return f"{subject}.{record.record_id}" if by_id else subject


def is_plain(subject: str) -> bool:
    """Whether a subject has only characters that ours have, which encode all others."""
    return subject.isascii() and subject.isprintable() and "\\" not in subject


def domain_of_ready(subject: str) -> str | None:
    """Return the domain in the subject of a ready record or new mail; None if it names none."""
    try:
        return normalise_domain(domain_of(subject.split(".")[7]))
    except (IndexError, ValueError):
        return None


def waiting_subject(shard: int, kind: WaitKind, record_id: RecordId, domain: str, lane: str) -> str:
    """Return the subject of a scheduled or held record."""
    return f"pr.q.{shard}.{kind}.{lane}.{domain_token(domain)}.{record_id}"


@dataclass(frozen=True, slots=True)
class ReadySubject:
    """
    The content of the subject of a ready record, or of a pack of so many `records`.

    The domain is empty if the records of a pack have several.
    """

    pool: str
    traffic_class: TrafficClass
    domain: str
    records: int = 1


@dataclass(frozen=True, slots=True)
class WaitingSubject:
    """The content of a waiting record's subject; `arrival` is None if it has no proper id."""

    kind: WaitKind
    domain: str
    arrival: datetime | None


def parse(subject: str) -> ReadySubject | WaitingSubject | None:
    """Parse a subject of the queue; None if it is not the subject of a record."""
    try:
        match subject.split("."):
            case ["pr", "i", _, kind, pool, traffic, _, domain]:
                named = "" if domain == SEVERAL else domain_of(domain)
                ready = ReadySubject(domain_of(pool), TrafficClass(traffic), named)
                if (pack := _PACK.fullmatch(kind)) is not None:
                    return replace(ready, records=int(pack[1]))
                if kind == WaitKind.READY:
                    return ready
                return WaitingSubject(WaitKind(kind), ready.domain, None)
            case ["pr", "q", _, WaitKind.READY, pool, traffic, _, domain, *ids] if len(ids) < 2:
                return ReadySubject(domain_of(pool), TrafficClass(traffic), domain_of(domain))
            case ["pr", "q", _, WaitKind.DEFERRED | WaitKind.HELD as kind, _, domain, record_id]:
                return WaitingSubject(WaitKind(kind), domain_of(domain), _arrival(record_id))
    except ValueError:
        pass  # a malformed class or domain
    return None


def pool_of(subject: str) -> str | None:
    """Return the pool in the subject of new or ready mail; None if it is not one of a record."""
    return domain_of(subject.split(".")[4]) if parse(subject) is not None else None


def _arrival(token: str) -> datetime | None:
    try:
        return arrival_of(RecordId.parse(token).queue_id)
    except ValueError:
        return None


def nobodys_subject(subject: str) -> str:
    """Return a subject next to a waiting record's that no record has and nobody consumes."""
    return f"{subject.rpartition('.')[0]}.gone"


def subjects_of_record(shard: int, record: QueueRecord) -> tuple[str, str]:
    """Return subject filters for a record's forms that have its id: waiting ones, ready ones."""
    end = f"{domain_token(record.domain)}.{record.record_id}"
    return f"pr.q.{shard}.*.*.{end}", f"pr.q.{shard}.r.*.*.*.{end}"


def subject_of(shard: int, put: Put, lane: str, *, by_id: bool = False) -> str:
    """Return the subject of a put; with `by_id`, a ready one has its id, too."""
    record = put.record
    match put.place:
        case Ready():
            return ready_subject(shard, record, lane, by_id=by_id)
        case Deferred():
            kind = WaitKind.DEFERRED
        case Held():
            kind = WaitKind.HELD
    return waiting_subject(shard, kind, record.record_id, record.domain, lane)


@lru_cache(maxsize=256)
def pool_token(pool: str) -> str:
    """Encode a pool's name as one token."""
    return domain_token(pool)


def lane_filter(shard: int, pool: str, traffic_class: TrafficClass | None, lane: str) -> str:
    """Return the subject filter of the consumer of a lane's new mail of a class, None: the rest."""
    if traffic_class is None:
        return f"pr.q.{shard}.r.{pool_token(pool)}.*.{lane}.>"
    return f"pr.i.{shard}.*.{pool_token(pool)}.{traffic_class}.{lane}.*"


def lane_consumer(pool: str, traffic_class: TrafficClass | None, lane: str) -> str:
    """Return the name of the durable consumer of a lane's new mail of a class, None: the rest."""
    return f"{pool_token(pool).replace('=', '-')}_{traffic_class or _REST}_{lane}"


def named_consumer(name: str) -> tuple[str, TrafficClass | None, str]:
    """Return the token of the pool, the class and the lane of a consumer by its name."""
    pool, traffic_class, lane = name.rsplit("_", 2)
    return pool, TrafficClass(traffic_class) if traffic_class != _REST else None, lane
