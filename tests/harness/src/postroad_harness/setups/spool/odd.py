"""A record as a process writes it, and a message as it comes, for tests of what is odd."""

from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.consume.pull.delivered import Delivered
from postroad.spool.jetstream.consume.pull.lane_pull import LanePull
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.wire.record import encode
from postroad.testing.queue.queued_mail import now, record

WELL = encode(record(new_queue_id(now(), 0), "well@y.example"))


def delivered(subject: str, payload: bytes) -> Delivered:
    pull = LanePull(0, LaneKey("default", "p00"), record("0" * 26).traffic_class)
    reply = "$JS.ACK.POSTROAD_I_0.default_x_p00.1.1.1.1.0"
    message = Incoming(subject, reply, b"", payload)
    key, stored_at = Key(QueueStream.INTAKE, 0, 1), int(now().timestamp() * 1e9)
    return Delivered(key, stored_at, 1, False, False, pull, message)
