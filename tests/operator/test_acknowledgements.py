"""The serving processes by their sessions, and how long missing sessions mean nothing."""

import asyncio
from datetime import timedelta

import pytest

from postroad.manifests.compiler.claims import Claims
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.configuration import acknowledgements as module
from postroad.operator.configuration.acknowledgements import Acknowledgements
from postroad.operator.configuration.publisher import ConfigurationPublisher
from postroad.operator.kubernetes.client import ApiAccess, Kube
from postroad.operator.status.reconcile import Serving
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient


async def test_that_all_are_gone_is_believed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SELDOM", 0.02)
    monkeypatch.setattr(module, "_BELIEVED_AFTER", 0.5)
    cluster = MemoryCluster()
    spool, ingress = MemorySpool(cluster, role="operator"), MemorySpool(cluster, role="ingress")
    await ingress.sessions.announce(1)
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
    told: list[tuple[Serving, ...] | None] = []
    looks = Acknowledgements(spool, publisher, lambda: told.append(looks.serving))
    running = asyncio.create_task(looks.run())
    async with asyncio.timeout(patient(5)):
        while not looks.serving:
            await asyncio.sleep(0.01)
        ingress.sessions.end()
        gone = asyncio.get_running_loop().time()
        while looks.serving:
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - gone >= 0.45
    assert len(told) == 2
    running.cancel()
