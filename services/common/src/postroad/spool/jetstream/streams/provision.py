"""
Creates the queue's streams and buckets: idempotent, corrects drift, never deletes data.

The operator or `postroad up` runs this; every other process waits until it is done.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.streams.subjects import body_stream, intake_subjects, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.lane import lane_names
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import CHUNK

CONFIG = "config"
BUCKETS = (CONFIG, "cluster", "sites", "suppression")
QUOTAS = "quotas"
PRESENCE = "presence"
INGRESS_SESSIONS = "presence_ingress"  # the part of PRESENCE with the sessions of ingress
LAYOUT_KEY = "meta"
CAPACITY_KEY = "capacity"
EVENTS_STREAM = "POSTROAD_EVENTS"

# The servers keep each id in memory for so long, whoever chose it: up to 64 KB each (decision 293).
_QUEUE_REPEATS = timedelta(minutes=5).total_seconds()  # ingress cannot write there
_REPEATS = timedelta(minutes=2).total_seconds()  # new mail is repeated for a minute
_CHUNK_REPEATS = timedelta(minutes=1).total_seconds()  # a chunk is repeated for half a minute
_NO_REPEATS = timedelta(milliseconds=100).total_seconds()  # the least that the server takes
_EVENTS_AGE = timedelta(days=7).total_seconds()
_EVENTS_SIZE = 1024**3  # octets, and never more than a tenth of the storage
_QUOTAS_SIZE = 256 * 1024**2  # octets, and never more than a twentieth of the storage
_QUOTAS_VALUE = 8192  # octets with headers, of which a count has some 200
_QUOTAS_AGE = timedelta(days=32).total_seconds()  # the longest window of a Quota is 31 days
# Ingress writes nothing else into the servers' memory. A session has some 600 octets, and is
# written again every three seconds.
_INGRESS_SESSIONS_SIZE = 2 * 1024**2  # octets
_INGRESS_SESSIONS_AGE = timedelta(minutes=1).total_seconds()
_PRESENCE_KEYS = (
    *("session.operator.*", "session.delivery.*", "owner.>", "site.>", "suspect.*"),
    *("memory", "disk.*", "order.*"),
)
_HEADERS = 4096  # octets of a chunk's headers, which have some 200
_NO_MEMORY = 10028
_STEP = timedelta(seconds=10)
# The server answers with these while JetStream is still starting or without a leader.
_TRANSIENT = (nats.errors.Error, nats.js.errors.ServiceUnavailableError, OSError)


async def provision_link(link: NatsLink, layout: Layout, *, capacity: int = 0) -> Layout:
    """
    Create or correct everything; return the layout in force, which is the one written first.

    `capacity` is one server's max_file_store in octets, 0 when it is not known.

    Raises SpoolUnavailable when JetStream does not answer, or has what cannot be corrected.
    """
    try:
        async with asyncio.timeout(_STEP.total_seconds() * 3):
            js = link.jetstream
            for name in BUCKETS:
                await _ensure(js, _bucket(name, layout.replicas))
            await _ensure(js, _quotas(layout.replicas, capacity))
            await _ensure_presence(js, layout.replicas)
            in_force = await _write_layout(js, layout)
            for shard in range(in_force.shards):
                await _ensure(js, _intake(shard, in_force))
                await _ensure(js, _queue(shard, in_force.replicas))
                await _ensure(js, _bodies(shard, in_force.replicas))
            await _ensure(js, _events(in_force.replicas, capacity))
            # JetStream counts each copy of what an account stores.
            room = capacity * in_force.replicas
            await js.publish(f"$KV.cluster.{CAPACITY_KEY}", str(room).encode())
            return in_force
    except (*_TRANSIENT, TimeoutError) as error:
        raise SpoolUnavailable(f"JetStream cannot be provisioned: {error}") from error


async def remake_presence(link: NatsLink, layout: Layout) -> None:
    """
    Create the bucket of sessions again if it is lost, as after a restart of the only server.

    Sessions need it within seconds, and the operator looks after all else once a minute. Raises
    SpoolUnavailable.
    """
    try:
        async with asyncio.timeout(_STEP.total_seconds()):
            await _ensure_presence(link.jetstream, layout.replicas)
    except (*_TRANSIENT, nats.js.errors.Error, TimeoutError) as error:
        heed_cancellation()
        raise SpoolUnavailable(f"JetStream does not answer: {error}") from error


async def read_layout(link: NatsLink) -> Layout | None:
    """Return the layout, None while nobody has provisioned; SpoolUnavailable without JetStream."""
    try:
        message = await link.jetstream.get_last_msg("KV_cluster", f"$KV.cluster.{LAYOUT_KEY}")
        layout = Layout.decode(message.data or b"")
        await link.jetstream.stream_info(EVENTS_STREAM)  # the last one made
    except NotFoundError:
        return None
    except (*_TRANSIENT, nats.js.errors.Error, TimeoutError) as error:
        raise SpoolUnavailable(f"JetStream does not answer: {error}") from error
    return layout


async def _write_layout(js: JetStreamContext, layout: Layout) -> Layout:
    try:
        message = await js.get_last_msg("KV_cluster", f"$KV.cluster.{LAYOUT_KEY}")
    except NotFoundError:
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        await js.publish(f"$KV.cluster.{LAYOUT_KEY}", layout.encode(), headers=headers)
        return layout
    try:
        kept = Layout.decode(message.data or b"")
    except ValueError as error:
        raise SpoolUnavailable(f"no build up to this one wrote its layout: {error}") from error
    # Lanes and replicas are fixed for good; only the number of shards may grow.
    if layout.shards <= kept.shards:
        return kept
    grown = Layout(layout.shards, kept.lanes, kept.replicas)
    headers = {"Nats-Expected-Last-Subject-Sequence": str(message.seq)}
    await js.publish(f"$KV.cluster.{LAYOUT_KEY}", grown.encode(), headers=headers)
    return grown


async def _ensure(js: JetStreamContext, wanted: StreamConfig) -> None:
    assert wanted.name is not None
    try:
        info = await js.stream_info(wanted.name)
    except NotFoundError:
        info = await js.add_stream(wanted)
    else:
        denied = wanted.deny_delete or info.config.deny_delete  # which cannot be taken back
        wanted = wanted.evolve(deny_delete=denied)
        if _differing(info.config, wanted):
            info = await js.update_stream(wanted)
    differing = _differing(info.config, wanted)
    if differing:
        # The server may accept a configuration and silently make another one of it.
        names = ", ".join(differing)
        raise SpoolUnavailable(f"the server has {wanted.name} with another {names} than wanted")


async def _ensure_presence(js: JetStreamContext, replicas: int) -> None:
    """
    Create the bucket of sessions and lane owners, in the servers' memory if they allow that.

    Its keys are renewed every few seconds, so they need no fsync. With full file storage, nobody
    could renew a session, all processes would consider themselves dead, and the queue would stay
    full. An ingress process that writes sessions without end fills only the stream of these.
    """
    for bucket in (_presence, _ingress_sessions):
        try:
            await _ensure(js, bucket(replicas, StorageType.MEMORY))
        except nats.js.errors.APIError as error:
            if error.err_code != _NO_MEMORY:
                raise
            await _ensure(js, bucket(replicas, StorageType.FILE))


def _differing(kept: StreamConfig, wanted: StreamConfig) -> list[str]:
    """Return the names of the settings that are not as wanted."""
    names = (
        *("subjects", "retention", "discard", "max_bytes", "max_age", "max_msgs_per_subject"),
        "max_msg_size",
        *("num_replicas", "duplicate_window", "allow_direct", "allow_atomic", "allow_msg_ttl"),
        *("allow_msg_schedules", "allow_rollup_hdrs", "deny_delete", "deny_purge"),
    )
    return [
        name
        for name in names
        if getattr(wanted, name) is not None
        and (getattr(kept, name) or None) != (getattr(wanted, name) or None)
    ]


def _intake(shard: int, layout: Layout) -> StreamConfig:
    # Who may publish here can remove nothing: a header does not, and the accounts of the servers
    # admit no request. Delivery deletes what no consumer takes.
    return StreamConfig(
        name=stream_name(QueueStream.INTAKE, shard),
        subjects=intake_subjects(shard, lane_names(layout.lanes)),
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=layout.replicas,
        duplicate_window=_REPEATS,
        allow_direct=True,
        allow_atomic=True,
        allow_msg_ttl=False,
        allow_msg_schedules=False,
        allow_rollup_hdrs=False,
        deny_purge=True,
    )


def _queue(shard: int, replicas: int) -> StreamConfig:
    # Without limits: with `discard old`, a limit would silently drop the oldest mail.
    return StreamConfig(
        name=stream_name(QueueStream.WAITING, shard),
        subjects=[f"pr.q.{shard}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=replicas,
        duplicate_window=_QUEUE_REPEATS,
        allow_direct=True,
        allow_atomic=True,
        allow_msg_ttl=True,
        allow_msg_schedules=True,
        allow_rollup_hdrs=True,  # without it there are no schedules
    )


def _bodies(shard: int, replicas: int) -> StreamConfig:
    # A subject has one message. So whoever knows a chunk's subject can replace the chunk, by a
    # message that expires soon too, and nobody can remove what he cannot name.
    return StreamConfig(
        name=body_stream(shard),
        subjects=[f"pr.d.{shard}.*.*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        max_msg_size=CHUNK + _HEADERS,  # delivery has a chunk of each message in memory
        duplicate_window=_CHUNK_REPEATS,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_msg_schedules=False,
        allow_rollup_hdrs=False,
        deny_delete=True,
        deny_purge=True,
    )


def _events(replicas: int, capacity: int) -> StreamConfig:
    # The server reserves all of max_bytes, and refuses a stream if it has not that much.
    size = min(_EVENTS_SIZE, capacity // 10) if capacity else _EVENTS_SIZE // 4
    return StreamConfig(
        name=EVENTS_STREAM,
        subjects=["pr.e.>"],
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_age=_EVENTS_AGE,
        max_bytes=size,
        duplicate_window=_REPEATS,
        allow_direct=True,
    )


def _quotas(replicas: int, capacity: int) -> StreamConfig:
    # Ingress writes here what it likes, also without an end, and no command removes it.
    size = min(_QUOTAS_SIZE, capacity // 20) if capacity else _QUOTAS_SIZE // 4
    return replace(
        _bucket(QUOTAS, replicas),
        max_bytes=size,
        max_age=_QUOTAS_AGE,
        max_msg_size=_QUOTAS_VALUE,
    )


def _presence(replicas: int, storage: StorageType) -> StreamConfig:
    keys = [f"$KV.{PRESENCE}.{key}" for key in _PRESENCE_KEYS]
    return replace(_bucket(PRESENCE, replicas, storage), subjects=keys)


def _ingress_sessions(replicas: int, storage: StorageType) -> StreamConfig:
    return replace(
        _bucket(INGRESS_SESSIONS, replicas, storage),
        subjects=[f"$KV.{PRESENCE}.session.ingress.*"],
        max_bytes=_INGRESS_SESSIONS_SIZE,
        max_age=_INGRESS_SESSIONS_AGE,
    )


def _bucket(name: str, replicas: int, storage: StorageType = StorageType.FILE) -> StreamConfig:
    return StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        storage=storage,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        duplicate_window=_NO_REPEATS,  # keys are written by revision, without ids
        allow_direct=True,
        # A configuration is published in batches: thousands of entries with few fsyncs.
        allow_atomic=True if name == CONFIG else None,
        allow_msg_ttl=True,
        # Whoever may write one key could empty the bucket by a rollup.
        allow_rollup_hdrs=False,
        deny_delete=True,
    )
