"""Changes in lists are reported, and objects that could not be listed are kept."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from postroad.manifests.objects import Kind
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.kubernetes.client import ApiAccess, Kube, KubeError

Object = dict[str, Any]


@dataclass
class Lists:
    """What an API server lists, and what it refuses to."""

    kube: Kube
    objects: dict[str, list[Object]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    declared: int = 0

    def informer(self, store: Store) -> Informer:
        """Return an informer that counts how often something is to be compiled."""
        return Informer(
            self.kube,
            store,
            namespaces=(),
            resync=timedelta(minutes=10),
            declared=self._declared,
            told=lambda _: None,
        )

    def _declared(self) -> None:
        self.declared += 1

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one list."""
        plural = request.path.rpartition("/")[2]
        if plural in self.refused:
            return web.json_response({"message": "no"}, status=self.refused[plural])
        return web.json_response({"items": self.objects.get(plural, [])})


@pytest.fixture
async def lists(unused_tcp_port: int) -> AsyncIterator[Lists]:
    kube = Kube(lambda: ApiAccess(server=f"http://127.0.0.1:{unused_tcp_port}"))
    lists = Lists(kube)
    app = web.Application()
    app.router.add_get("/{path:.*}", lists.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield lists
    await kube.close()
    await runner.cleanup()


def relay(name: str, **spec: Object) -> Object:
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"}
    return {"metadata": {**metadata, "generation": 1}, "spec": {"mx": {}, **spec}}


SELECTOR = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}


async def test_what_one_list_brings_is_told_though_the_next_one_fails(lists: Lists) -> None:
    store = Store()
    informer = lists.informer(store)
    await informer.list_all()
    lists.objects["relays"] = [relay("a")]
    lists.refused["quotas"] = 500
    lists.declared = 0
    with pytest.raises(KubeError):
        await informer.list_all()
    assert lists.declared == 1


@pytest.mark.parametrize("kind", [*Kind])
async def test_nothing_is_complete_while_one_kind_is_refused(lists: Lists, kind: Kind) -> None:
    store = Store()
    lists.refused[f"{kind.lower()}s"] = 403
    with pytest.raises(KubeError):
        await lists.informer(store).list_all()
    assert not store.complete


async def test_labels_that_are_refused_are_needed_by_selectors_alone(lists: Lists) -> None:
    lists.refused["namespaces"] = 403
    store = Store()
    lists.objects["relays"] = [relay("a", allowedNamespaces=SELECTOR)]
    with pytest.raises(KubeError):
        await lists.informer(store).list_all()
    assert not store.complete  # or whoever the selector admits would lose what is in force
    lists.objects["relays"] = [relay("a")]
    store = Store()
    await lists.informer(store).list_all()
    assert store.complete
