"""
Encodes and decodes a record's reference to a body that is stored apart.

Bodies of an earlier release are stored in another form. The id says the form, because an earlier
release carries the id along as it is. It leaves records with the new form to later releases,
because such a record says that it needs them.
"""

from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.record import BlobRef
from postroad.spool.wire.newer import unknown_in

CHUNK_SUBJECTS = "chunk-subjects"  # what a reader of the new form must know

_NEW_FORM = "d-"  # before the id


def body_out(body: BlobRef) -> wire.BlobRef:
    """Encode a reference."""
    message = wire.BlobRef(
        shard=body.shard,
        blob_id=body.blob_id if body.former else _NEW_FORM + body.blob_id,
        chunks=body.chunks,
        size=body.size,
        sha256=body.sha256,
        sole=body.destinations == 1,
        destinations=body.destinations,
    )
    if body.unknown:
        message.MergeFromString(body.unknown)
    return message


def body_in(message: wire.BlobRef) -> BlobRef:
    """Decode a reference."""
    return BlobRef(
        message.shard,
        message.blob_id.removeprefix(_NEW_FORM),
        message.chunks,
        message.size,
        message.sha256,
        message.destinations or int(message.sole),
        former=not message.blob_id.startswith(_NEW_FORM),
        unknown=unknown_in(message),
    )


def needs_of(content: bytes | BlobRef) -> frozenset[str]:
    """Return what a reader must know because of a record's content."""
    if isinstance(content, BlobRef) and not content.former:
        return frozenset({CHUNK_SUBJECTS})
    return frozenset()
