"""
The queue's servers: answer spool's requests like JetStream, over the memory store.

They behave like nats-server 2.15. A consumer is in memory and is lost at a restart. A record comes
again after ack_wait. `+WPI` is always answered. An acknowledgement of a record that this consumer
has not delivered yet gets no answer. A batch is stored atomically. There is one shard: several add
nothing but its number. It has both streams; nothing can be deleted from the intake.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from postroad.mail.traffic import TrafficClass
from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.new_mail import records_in
from postroad.spool.jetstream.publish.succession import FOLLOWS
from postroad.spool.jetstream.streams.subjects import domain_of, named_stream, packed, stream_name
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.store import ACK_WAIT
from postroad.spool.memory.stored import StoredRecord
from postroad.spool.puts.followers import delivers_nothing
from postroad.spool.wire.record import decode
from postroad_harness.simulation.buckets import Buckets
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.looks import (
    READY_BY_ID,
    Consumer,
    EndNotes,
    Pull,
    consumer_answer,
    error_answer,
    look,
    message_of,
    place_of,
    stream_asked,
    subject_in,
    waiting_key,
)
from postroad_harness.simulation.network import Network
from postroad_harness.simulation.packs.store import PackedStore

_FULL, _WRONG_LAST_SEQUENCE, _NOT_THERE, _DENIED = 10047, 10071, 10043, 10057


class SimulatedServers:
    """All servers as one."""

    def __init__(self, network: Network, store: PackedStore) -> None:
        self.up = True
        self.mute_until = 0.0  # they do, and do not say so
        self.deaf_until = 0.0  # they do nothing, as without a leader
        self.links: list[SimulatedLink] = []
        self.buckets, self.ends = Buckets(network.time), EndNotes()
        self.on_stored: Callable[[Put, SimulatedLink, bool], None] = lambda *_: None
        self.on_acked: Callable[[Key, SimulatedLink], None] = lambda *_: None
        self.store = store
        self._network = network
        self._granted: dict[tuple[Key, SimulatedLink], float] = {}
        self._consumers: dict[str, Consumer] = {}
        self._batches: dict[str, list[tuple[bytes, str, Mapping[str, str]]]] = {}
        store.watch(self._pump_soon)
        self._pumping = False

    # ------------------------------------------------------------ faults

    def restart(self, seconds: float, *, unpurged: Key | None = None) -> None:
        """
        Go down and come up again with what was on disk.

        The schedule that has just fired the record `unpurged` is there too, and fires again.
        """
        fired = self.store.records.get(unpurged) if unpurged else None
        if fired is not None:
            again = Put(fired.record, Deferred(self.store.clock()))
            self.store.append([again], [f"fired by {unpurged}"])
        self.up = False
        self._consumers.clear()
        self._batches.clear()
        self.store.restart()
        self.store.available = False
        self.buckets.forget_memory()
        for link in self.links:
            link.break_off()
        self._network.call_later(seconds, self._come_up, context=self._network.world)

    def _come_up(self) -> None:
        self.up = self.store.available = True
        self._pump_soon()

    def forget(self, link: SimulatedLink) -> None:
        """Throw a connection's requests away."""
        for consumer in self._consumers.values():
            consumer.pulls = [pull for pull in consumer.pulls if pull.link is not link]

    # ------------------------------------------------------------ what is said to them

    def receive(
        self, link: SimulatedLink, subject: str, data: bytes, reply: str, headers: dict[str, str]
    ) -> None:
        """Take a message, and answer."""
        if self._network.time() < self.deaf_until:
            return
        answer: tuple[bytes, dict[str, str]] | None
        if subject.startswith("$JS.ACK."):
            answer = self._settled(link, subject, data)
        elif subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            self._asked(link, subject, data, reply)
            return
        elif subject.startswith("$JS.API.CONSUMER.CREATE."):
            answer = self._made(subject)
        elif subject.startswith("$JS.API.STREAM.MSG.GET."):
            answer = look(self.store, self.ends, stream_asked(subject), data), {}
        elif subject.startswith("$JS.API.STREAM.MSG.DELETE."):
            key = Key(stream_asked(subject), 0, int(json.loads(data)["seq"]))
            answer = self._removed(link, key), {}
        elif subject.startswith("$KV."):
            answer = self.buckets.receive(subject, data, headers), {}
        else:
            answer = self._published(link, subject, data, headers)
        if answer is not None and reply and self._network.time() >= self.mute_until:
            link.deliver(reply, answer[0], "", answer[1])

    # ------------------------------------------------------------ publishing

    def _published(
        self, link: SimulatedLink, subject: str, data: bytes, headers: dict[str, str]
    ) -> tuple[bytes, dict[str, str]] | None:
        batch = headers.get("Nats-Batch-Id")
        if batch is None:
            return self._stored(link, [(data, subject, headers)]), {}
        messages = self._batches.setdefault(batch, [])
        if int(headers["Nats-Batch-Sequence"]) != len(messages) + 1:
            return None
        messages.append((data, subject, headers))
        if "Nats-Batch-Commit" not in headers:
            return b"", {}
        return self._stored(link, self._batches.pop(batch)), {}

    def _stored(
        self, link: SimulatedLink, messages: list[tuple[bytes, str, Mapping[str, str]]]
    ) -> bytes:
        if self.store.full:
            return error_answer(_FULL, "insufficient storage")
        stream, subject = QueueStream(messages[0][1].split(".")[1]), messages[0][1]
        if subject.split(".")[3] == "e":
            for ended in self.ends.add(self.store, subject, messages[0][0]):
                self.on_acked(ended, link)
            return b'{"stream":"POSTROAD_Q_0","seq":1}'
        # One atomic step here: its repetition hears that it came too late.
        replaced = int(messages[0][2].get("Nats-Expected-Last-Subject-Sequence", "0"))
        if replaced and not self._waits(replaced):
            return error_answer(_WRONG_LAST_SEQUENCE, "wrong last sequence")
        puts = [
            Put(decode(octets), place_of(stream, at, each))
            for data, at, each in messages
            for octets in records_in(at, data)
        ]
        before = set(self.store.records)
        names = [each["Nats-Msg-Id"] for _, _, each in messages]
        follows = [Key.parse(0, each.get(FOLLOWS, "")) for _, _, each in messages]
        if packed(subject):
            follows = [None] * len(puts)
            key = self.store.append_pack(puts, names[0])
        else:
            key = self.store.append(puts, names, stream=stream, follows=follows)
        for put, (_, at, each) in zip(puts, messages, strict=False):
            if len(each.get("Nats-Schedule-Target", at).split(".")) == READY_BY_ID:
                self.store.by_id.add((put.record.record_id, put.record.step))
        self.store.remove(waiting_key(replaced))
        if key not in before:
            for put, former in zip(puts, follows, strict=True):
                late = former is not None and self._came_late(former, link, puts)
                self.on_stored(put, link, late)
        return b'{"stream":"%s","seq":%d}' % (stream_name(stream, 0).encode(), key.sequence)

    def _waits(self, sequence: int) -> bool:
        stored = self.store.records.get(waiting_key(sequence))
        return stored is not None and stored.due is not None

    # ------------------------------------------------------------ consumers

    def _made(self, subject: str) -> tuple[bytes, dict[str, str]]:
        tokens = subject.split(".")
        name, stream = tokens[5], QueueStream(tokens[7])
        pool, traffic_class, lane = tokens[10:13]
        classes = [TrafficClass(traffic_class)] if traffic_class != "*" else list(TrafficClass)
        now = self.store.clock()
        new = Consumer(name, domain_of(pool), [(each, stream) for each in classes], lane, now)
        found = self._consumers.setdefault(name, new)
        return consumer_answer(found.created, len(found.delivered), now), {}

    def _asked(self, link: SimulatedLink, subject: str, data: bytes, reply: str) -> None:
        consumer = self._consumers.get(subject.rpartition(".")[2])
        if consumer is None:
            link.deliver(reply, b"", "", {"Status": "503"})
            return
        said = json.loads(data)
        now = self._network.time()
        pull = Pull(link, reply, said["batch"], now + said["expires"] / 1e9, now)
        consumer.pulls.append(pull)
        self._look_after(consumer, pull, said.get("idle_heartbeat", float("inf")) / 1e9)
        self._pump_soon()

    def _look_after(self, consumer: Consumer, pull: Pull, beat: float) -> None:
        """End a request in time, and give signs of life until then."""
        now = self._network.time()
        if pull not in consumer.pulls or self._consumers.get(consumer.name) is not consumer:
            return
        if now >= pull.expires or not pull.link.interested(pull.token):
            consumer.pulls.remove(pull)
            headers = {"Status": "408", "Nats-Pending-Messages": str(pull.left)}
            pull.link.deliver(pull.token, b"", "", headers)
            return
        if now >= pull.told + beat:
            pull.told = now
            pull.link.deliver(pull.token, b"", "", {"Status": "100"})
        again = min(pull.told + beat, pull.expires)
        self._network.call_at(
            again, self._look_after, consumer, pull, beat, context=self._network.world
        )

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._network.call_soon(self._pump, context=self._network.world)

    def _pump(self) -> None:
        self._pumping = False
        if not self.up or self._network.time() < self.deaf_until:
            return
        for consumer in self._consumers.values():
            consumer.pulls = [p for p in consumer.pulls if p.link.interested(p.token)]
            while consumer.pulls:
                pull = consumer.pulls[0]
                lane = (consumer.pool, consumer.lane)
                stored = self.store.hand_out(lane, pull.link, consumer.lines)
                if stored is None:
                    break
                self._hand_over(consumer, pull, stored)

    def _hand_over(self, consumer: Consumer, pull: Pull, stored: StoredRecord) -> None:
        key, sequence = stored.key.message, stored.key.sequence
        self._grant(key, pull.link)
        consumer.delivered.add(key)
        consumer.reached = max(consumer.reached, sequence)
        pull.left -= 1
        pull.told = self._network.time()
        if pull.left == 0:
            consumer.pulls.remove(pull)
        consumer.deliveries += 1
        number, at = consumer.deliveries, int(stored.at.timestamp() * 1e9)
        ack = f"$JS.ACK.{stream_name(key.stream, 0)}.{consumer.name}.{stored.deliveries}"
        records = self.store.message(stored.key)
        reply, subject = f"{ack}.{sequence}.{number}.{at}.0", subject_in(records, consumer.lane)
        headers = {FOLLOWS: stored.follows.token} if stored.follows else {}
        if stored.fired:
            headers["Nats-Scheduler"] = key.token  # its subject, really
        pull.link.deliver(pull.token, message_of(records), reply, headers, subject=subject)

    # ------------------------------------------------------------ acknowledgements

    def _settled(
        self, link: SimulatedLink, subject: str, data: bytes
    ) -> tuple[bytes, dict[str, str]] | None:
        tokens = subject.split(".")
        consumer, (stream, shard) = self._consumers.get(tokens[3]), named_stream(tokens[2])
        key = Key(stream, shard, int(tokens[5]))
        if consumer is None:
            return b"", {"Status": "503"}
        if data == b"+WPI":
            self._extend(key, link)
        elif data == b"+ACK":
            if key.sequence > consumer.reached:
                return None
            if key in consumer.delivered:
                consumer.delivered.discard(key)
                for stored in self.store.message(key):
                    self.on_acked(stored.key, link)
                    self.store.remove(stored.key)
        elif key in consumer.delivered and self._in_hand(key):
            delay = json.loads(data.removeprefix(b"-NAK") or b"{}").get("delay", 0)
            for stored in self.store.message(key):
                if delay:
                    self.store.lease(stored.key, timedelta(microseconds=delay / 1e3))
                else:
                    self.store.take_back(stored.key)
        return b"", {}

    def _removed(self, link: SimulatedLink, key: Key) -> bytes:
        if key.stream is QueueStream.INTAKE:
            return error_answer(_DENIED, "message delete not permitted")
        if key not in self.store.records:
            return error_answer(_NOT_THERE, "no message found")
        self.on_acked(key, link)
        self.store.remove(key)
        return b'{"success":true}'

    def _in_hand(self, key: Key) -> bool:
        return any(stored.holder is not None for stored in self.store.message(key))

    def _lease(self, key: Key) -> None:
        for stored in self.store.message(key):
            self.store.lease(stored.key)

    def _grant(self, key: Key, link: SimulatedLink) -> None:
        self._lease(key)
        self._granted[key, link] = self._network.time() + ACK_WAIT.total_seconds()

    def _extend(self, key: Key, link: SimulatedLink) -> None:
        """Extend whatever lease there is, as the server does, and this one if it was in time."""
        self._lease(key)
        if self.has_lease(key, link):
            self._granted[key, link] = self._network.time() + ACK_WAIT.total_seconds()

    def has_lease(self, key: Key, link: SimulatedLink) -> bool:
        """
        Whether a process's lease has not run out: granted at its delivery, extended in time since.

        A restart of the servers takes it away without a word, so this is all a process can know.
        """
        return self._granted.get((key.message, link), 0.0) > self._network.time()

    def _came_late(self, former: Key, link: SimulatedLink, puts: Sequence[Put]) -> bool:
        """
        Whether what follows from a record is late without a mistake of who wrote it.

        Its lease has run out since it was written; or it had run out before, nobody has ended the
        record yet, and this tells whom the mail has reached, which is not known otherwise.
        """
        if self.has_lease(former, link):
            return False
        if link.written < self._granted.get((former.message, link), 0.0):
            return True
        stored = self.store.records.get(former)
        return stored is not None and not delivers_nothing(stored.record, puts)
