"""What helm refuses because of what a release has already made in the cluster."""

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from postroad_harness.cluster.chart import CHART, NAMESPACE, PREFIX, RELEASE, Object, helms, named

_KINDS = {"ConfigMap": "configmaps", "Secret": "secrets"}


class Api:
    """As much of an API server as helm's `lookup` needs, with some objects."""

    def __init__(self, objects: Mapping[str, Object]) -> None:
        self._pages = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [
                    {"name": name, "namespaced": True, "kind": kind, "verbs": ["get"]}
                    for kind, name in _KINDS.items()
                ],
            },
            **objects,
        }

    def answer(self, path: str) -> tuple[int, object]:
        page = self._pages.get(path.partition("?")[0])
        if page is None:
            return 404, {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
        return 200, page


@pytest.fixture
def url(rendered: Mapping[str, list[Object]]) -> Iterator[str]:
    """The address of an API server with the servers' configuration for five shards."""
    made = named(rendered["sharded"], "ConfigMap", "nats")
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{PREFIX}-nats"
    api = Api({path: made})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, page = api.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(page).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("shards", "refused"), [(1, True), (4, True), (5, False), (6, False)])
def test_an_upgrade_leaves_out_no_shard_of_the_queue(url: str, shards: int, refused: bool) -> None:
    asked = helms()
    assert asked
    for helm in asked:
        done = helm.run(
            *("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--dry-run=server"),
            *(
                f"--kube-apiserver={url}",
                f"--set=queue.shards={shards}",
                "--set=crds.enabled=false",
            ),
        )
        told = "queue.shards: the queue has 5, and mail in those that are left out"
        assert (told in done.stderr) is refused, done.stderr
