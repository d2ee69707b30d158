"""
A small API server for the operator's inner parts: objects, statuses, Secrets and events.

It answers at once, counts what is written, and refuses what a test wants it to.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from postroad.testing.patience import patient

Object = dict[str, Any]
ROUTE = "/apis/postroad.dev/v1alpha1/namespaces/shop/{plural}/{name}/status"


@dataclass
class Api:
    """The API server's edge: objects with versions, statuses that may be refused for a while."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    writes: list[tuple[str, str]] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # instead of taking the next statuses
    secrets: dict[str, Object | int] = field(default_factory=dict)  # or the status instead
    version: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def app(self) -> web.Application:
        """Return the server."""
        app = web.Application()
        app.router.add_patch(ROUTE, self._patch)
        app.router.add_get("/apis/postroad.dev/v1alpha1/{plural}", self._list)
        app.router.add_get("/api/v1/namespaces", self._namespaces)
        app.router.add_get("/api/v1/namespaces/shop/secrets/{name}", self._secret)
        app.router.add_post("/apis/events.k8s.io/v1/namespaces/shop/events", self._event)
        return app

    def put(self, plural: str, name: str, spec: Object) -> Object:
        """Make an object, or change it."""
        self.version += 1
        before = self.objects.get((plural, name))
        generation = before["metadata"]["generation"] + 1 if before else 1
        metadata = {
            "name": name,
            "namespace": "shop",
            "uid": f"{plural}-{name}",
            "generation": generation,
            "resourceVersion": str(self.version),
            "creationTimestamp": "2026-11-24T10:00:00Z",
        }
        status = before.get("status", {}) if before else {}
        self.objects[plural, name] = {"metadata": metadata, "spec": spec, "status": status}
        return dict(self.objects[plural, name])

    def ready(self, plural: str, name: str) -> tuple[str, str]:
        """Return what Ready says of an object."""
        for each in self.objects[plural, name]["status"].get("conditions", ()):
            if each["type"] == "Ready":
                return each["status"], each["reason"]
        return "", ""

    async def until_ready(self, plural: str, name: str, status: str, reason: str) -> None:
        """Wait until Ready says so."""
        async with asyncio.timeout(patient(10)), self.changed:
            await self.changed.wait_for(lambda: self.ready(plural, name) == (status, reason))

    async def _patch(self, request: web.Request) -> web.Response:
        plural, name = request.match_info["plural"], request.match_info["name"]
        if self.answers:
            return web.json_response({"message": "no"}, status=self.answers.pop(0))
        body = json.loads(await request.text())
        there = self.objects[plural, name]
        if body["metadata"]["uid"] != there["metadata"]["uid"]:
            return web.json_response({"message": "another object"}, status=409)
        self.version += 1
        there["status"] = {**there["status"], **body["status"]}
        there["metadata"] = {**there["metadata"], "resourceVersion": str(self.version)}
        async with self.changed:
            self.writes.append((plural, name))
            self.changed.notify_all()
        return web.json_response(there)

    async def _list(self, request: web.Request) -> web.Response:
        wanted = request.match_info["plural"]
        found = [each for (plural, _), each in self.objects.items() if plural == wanted]
        return web.json_response({"items": found, "metadata": {}})

    async def _namespaces(self, _: web.Request) -> web.Response:
        return web.json_response({"items": [{"metadata": {"name": "shop", "labels": {}}}]})

    async def _secret(self, request: web.Request) -> web.Response:
        found = self.secrets.get(request.match_info["name"], 404)
        if isinstance(found, int):
            return web.json_response({"message": "no"}, status=found)
        return web.json_response(found)

    async def _event(self, request: web.Request) -> web.Response:
        async with self.changed:
            self.events.append(json.loads(await request.text()))
            self.changed.notify_all()
        return web.json_response({})
