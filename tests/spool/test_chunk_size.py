"""
Nobody stores larger chunks of a body than delivery has room for.

Delivery has a chunk in memory of each large message that it sends. Who may write to the stream, as
a compromised ingress process, would choose how large that is.
"""

from datetime import timedelta

import pytest
from nats.js.errors import APIError

from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, chunk_subject
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import CHUNK
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import is_there

pytestmark = pytest.mark.nats

LARGER = CHUNK + 8 * 1024


async def test_a_larger_chunk_than_ours_is_not_stored(
    spool: JetStreamSpool, link: NatsLink
) -> None:
    with pytest.raises(APIError, match="message size exceeds maximum"):
        await link.jetstream.publish(chunk_subject(0, "f" * 32, 0), b"x" * LARGER)
    writer = spool.write_body(lifetime=timedelta(days=5))
    await writer.write(b"x" * (3 * CHUNK))
    assert await is_there(spool, await writer.finish(destinations=1))


async def test_a_queue_of_an_earlier_release_gets_the_limit_and_keeps_its_chunks(
    server: NatsServer, link: NatsLink
) -> None:
    stream, subject = body_stream(0), chunk_subject(0, "f" * 32, 0)
    info = await link.jetstream.stream_info(stream)
    await link.jetstream.update_stream(info.config.evolve(max_msg_size=-1))
    await link.jetstream.publish(subject, b"x" * LARGER)
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
    kept = await link.jetstream.get_last_msg(stream, subject)
    assert kept.data == b"x" * LARGER
    with pytest.raises(APIError, match="message size exceeds maximum"):
        await link.jetstream.publish(subject, b"x" * LARGER)
