"""The probe of the queue's servers: when Kubernetes restarts one, and when it leaves it alone."""

import json
import re
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from postroad_harness.cluster.chart import CHART, Object, named

ROOT = CHART.parents[1]


@contextmanager
def page(status: int, text: str, *, stalled: threading.Event | None = None) -> Iterator[str]:
    """
    Serve one page that answers so, and give its address.

    When `stalled`, it waits for that before it tells of streams, and answers for the server alone.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if stalled is not None and "js-server-only" not in self.path:
                stalled.wait()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/healthz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "said", "restarted"),
    [
        (200, {"status": "ok"}, False),
        (503, {"error": "JetStream stream '$G > A' write error: no space left on device"}, True),
        (503, {"error": "'$G > A' is not current: monitor goroutine not running"}, True),
        (503, {"error": "not current: consumer assignment error: stream not found (10059)"}, True),
        # While it catches up, or a stream has no leader, a restart would only make it worse.
        (503, {"error": "JetStream stream '$G > A' is not current"}, False),
        (503, {"error": "JetStream has not established contact with a meta leader"}, False),
    ],
)
def test_a_server_is_restarted_when_nothing_else_mends_it(
    status: int, said: object, restarted: bool
) -> None:
    with page(status, json.dumps(said)) as address:
        probe = [sys.executable, "-IS", str(ROOT / "services" / "nats" / "alive.py"), address]
        assert subprocess.run(probe, capture_output=True).returncode == int(restarted)


@pytest.mark.parametrize(("full", "restarted"), [(False, True), (True, False)])
def test_a_server_that_cannot_write_is_restarted_when_its_disk_has_room(
    tmp_path: Path, *, full: bool, restarted: bool
) -> None:
    folder = "/proc" if full else str(tmp_path)  # a file system without a free octet
    said = {"error": "JetStream stream '$G > A' write error: no space left on device"}
    with page(503, json.dumps(said)) as address:
        probe = [sys.executable, "-IS", str(ROOT / "services" / "nats" / "alive.py"), address]
        done = subprocess.run([*probe, "localhost:1", folder], capture_output=True)
    assert done.returncode == int(restarted)


def test_the_probe_is_told_where_the_server_keeps_its_files(
    rendered: Mapping[str, list[Object]],
) -> None:
    (container,) = named(rendered["default"], "StatefulSet", "nats")["spec"]["template"]["spec"][
        "containers"
    ]
    *_, page, address, folder, _ = container["livenessProbe"]["exec"]["command"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert page == f"http://localhost:{ports['monitor']}/healthz"
    assert address == f"localhost:{ports['client']}"
    config = named(rendered["default"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert re.search(rf'store_dir: "?{folder}\b', config)
    assert folder in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"POD_NAME", "WRITTEN_TO"} <= {each["name"] for each in container["env"]}


def test_a_server_that_waits_for_its_disk_is_left_alone() -> None:
    # Four seconds: as long as the page may take.
    over = threading.Event()
    probe = [sys.executable, "-IS", str(ROOT / "services" / "nats" / "alive.py")]
    with page(200, "{}", stalled=over) as address:
        try:
            assert subprocess.run([*probe, address], capture_output=True).returncode == 0
        finally:
            over.set()


def test_a_server_that_does_not_answer_is_not_alive() -> None:
    why = runpy.run_path(str(ROOT / "services" / "nats" / "alive.py"))["why_restart"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert why(f"http://127.0.0.1:{taken.getsockname()[1]}/healthz").startswith("no answer")
