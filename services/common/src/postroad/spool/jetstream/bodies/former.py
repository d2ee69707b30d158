"""
Reads bodies that an earlier release has stored, until the last of them has ended.

All chunks of such a body are on one subject of the stream `POSTROAD_BLOB_<k>`, each with its number
in its header. A chunk whose acknowledgement was lost was sent again after later ones, so the chunks
are not always stored in order. A lagging follower may answer a direct get, so a chunk counts as
missing only if the stream's leader does not have it. The streams end with a queue that has none of
these bodies any more; nothing is written there but what deletes a body.
"""

from collections.abc import AsyncIterator, Sequence

from postroad.spool.errors import BodyCorrupt, BodyMissing
from postroad.spool.jetstream.nats.direct_get import Link, StoredMessage, page
from postroad.spool.jetstream.nats.leader_get import ask_leader
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.streams.subjects import body_stream, body_subject
from postroad.spool.record import BlobRef

_PAGE = 2  # chunks read ahead
_WINDOW = 4  # chunks that are kept because they came too early


class FormerBodies:
    """The bodies of an earlier release."""

    def __init__(self, link: Link, requests: Requests) -> None:
        self._link = link
        self._requests = requests

    async def chunks(self, blob: BlobRef) -> AsyncIterator[bytes]:
        """Yield the chunks in order; at most a window of them is in memory at a time."""
        number, after = 0, 0
        early: dict[int, bytes] = {}  # chunks that were read too early
        passed: dict[int, int] = {}  # sequences of chunks that were too many to keep
        while number < blob.chunks:
            if number in early:
                yield early.pop(number)
            elif number in passed:
                [again] = await self._read(blob, after=passed.pop(number) - 1, most=1)
                yield again.data
            else:
                for message in await self._read(blob, after=after, most=_PAGE):
                    after, chunk = message.sequence, self._number(message.headers)
                    if chunk == number or (number < chunk and len(early) < _WINDOW):
                        early[chunk] = message.data
                    else:
                        passed[chunk] = message.sequence
                continue
            number += 1

    async def _read(self, blob: BlobRef, *, after: int, most: int) -> Sequence[StoredMessage]:
        """Return at least one chunk after a sequence; BodyMissing when there is none."""
        subject = body_subject(blob.shard, blob.blob_id, former=True)
        stream = body_stream(blob.shard, former=True)
        read = await page(self._link, stream, subject, after=after, messages=most)
        messages = read.messages
        if not messages:
            # A follower may lag, but the leader knows.
            query = {"seq": after + 1, "next_by_subj": subject}
            found = await ask_leader(self._requests, stream, query)
            if found is None:
                whole = "is not there" if not after else "is not whole"
                raise BodyMissing(f"body {blob.blob_id} {whole}")
            messages = [found]
        if any("Nats-Rollup" in message.headers for message in messages):
            raise BodyMissing(f"body {blob.blob_id} was deleted")
        return messages

    @staticmethod
    def _number(headers: object) -> int:
        try:
            return int(headers["Postroad-Chunk"])  # type: ignore[index]
        except (KeyError, ValueError, TypeError) as error:
            raise BodyCorrupt("a chunk without its number") from error
