"""
A pack: records of new mail that are stored as one message, so that one write syncs all of them.

Each record is encoded as if it were alone. Its place in the pack, from 1, is the index of its key.
"""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.errors import RecordCorrupt

FEATURE = "packs"  # of processes that can read them
MOST = 32  # records in a pack
PACK_OCTETS = 768 * 1024  # in a pack; a larger record is alone
_AROUND = 8  # octets around each record, at most


def pack(records: Sequence[bytes]) -> bytes:
    """Return the pack of encoded records."""
    return wire.Pack(records=records).SerializeToString()


def packed_size(record: bytes) -> int:
    """Return how many octets of a pack an encoded record takes, at most."""
    return len(record) + _AROUND


def unpack(data: bytes, count: int) -> Sequence[bytes]:
    """Return the encoded records of a pack; RecordCorrupt if it is no pack of so many."""
    try:
        records = wire.Pack.FromString(data).records
    except DecodeError as error:
        raise RecordCorrupt(f"not a pack: {error}") from error
    if len(records) != count:
        raise RecordCorrupt(f"a pack of {len(records)} records under the subject of one of {count}")
    return records
