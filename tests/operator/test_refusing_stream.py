"""The operator hears from the sessions of processes that a stream of the queue takes no mail."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats
import pytest

from postroad.manifests.compiler.claims import Claims
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.configuration.acknowledgements import Acknowledgements
from postroad.operator.configuration.publisher import ConfigurationPublisher
from postroad.operator.kubernetes.client import ApiAccess, Kube
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Put, Ready
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, SECOND, now, record

pytestmark = pytest.mark.nats

SOON = replace(QUICK, refusing=timedelta(seconds=0.5), refusing_tried_again=timedelta(seconds=0.5))


def acknowledgements(spool: JetStreamSpool, told: asyncio.Event) -> Acknowledgements:
    store = Store()
    informer = Informer(
        Kube(lambda: ApiAccess(server="http://127.0.0.1:1")),
        store,
        namespaces=(),
        resync=timedelta(minutes=10),
        declared=lambda: None,
        told=lambda _: None,
    )
    publisher = ConfigurationPublisher(
        *(store, informer, spool, keyrings(), lambda: None), claims=Claims
    )
    return Acknowledgements(spool, publisher, told.set)


async def accept(spool: JetStreamSpool) -> None:
    def compose(queue_id: str) -> Sequence[Put]:
        return [Put(record(queue_id), Ready())]

    await spool.accept(new_queue_id(now(), 2), compose, timeout=patient(5) * SECOND)


async def test_the_operator_judges_again_when_a_stream_refuses_and_when_it_takes_mail_again(
    tmp_path: Path,
) -> None:
    async with NatsServer(tmp_path) as server:
        plain = SpoolOptions(servers=(server.url,))
        await provision(plain, layout=SINGLE_MACHINE)
        ingress = await connect(replace(plain, role="ingress", timings=SOON))
        operator = await connect(replace(plain, role="operator"))
        outside = await nats.connect(server.url)
        told = asyncio.Event()
        looks = acknowledgements(operator, told)
        running = asyncio.create_task(looks.run())
        await outside.jetstream().delete_stream("POSTROAD_I_2")
        async with asyncio.timeout(patient(15)):
            while not looks.refusing:
                await accept(ingress)
                looks.look()
            assert dict(looks.refusing) == {"POSTROAD_I_2": "the stream has no leader"}
            assert told.is_set()
            await provision(plain, layout=SINGLE_MACHINE)
            await accept(ingress)
            told.clear()
            while looks.refusing:
                looks.look()
                await asyncio.sleep(0.05)
            await told.wait()
        running.cancel()
        for each in (ingress, operator, outside):
            await each.close()
