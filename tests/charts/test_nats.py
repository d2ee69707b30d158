"""The queue's servers: a real nats-server reads their configuration; and their probe works."""

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nats
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from postroad.cli.standalone.nats.config import ServerAddress, server_config
from postroad.spool.wire.payload import MAX_PAYLOAD
from postroad.testing.queue.accounts import API_PREFIX, expanded
from postroad.testing.queue.nats_server import free_ports
from postroad.testing.queue.server_tls import ServerTls
from postroad_harness.cluster.chart import CHART, Object, environment, named

ROOT = CHART.parents[1]
SERVER = Path(sys.executable).with_name("nats-server")
START = runpy.run_path(str(ROOT / "services" / "nats" / "start.py"))


def configured(objects: list[Object], folder: Path) -> Path:
    """Write the servers' configuration as their entry point does in a pod; return its file."""
    configuration, secrets, written = (folder / name for name in ("etc", "secrets", "run"))
    configuration.mkdir()
    secrets.mkdir()
    for name, text in named(objects, "ConfigMap", "nats")["data"].items():
        (configuration / name).write_text(text)
    volumes = named(objects, "StatefulSet", "nats")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (each for each in volumes if each["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        ours = source["secret"]["name"].endswith("-nats-auth")
        for item in source["secret"]["items"]:
            told = passwords(objects)[item["key"]] if ours else "theirs"
            (secrets / item["path"]).write_text(told)
    START["configure"](configuration, secrets, written)
    return written / "nats-server.conf"


def passwords(objects: list[Object]) -> dict[str, str]:
    """Return the passwords of the chart's Secret, by user."""
    data = named(objects, "Secret", "nats-auth")["data"]
    return {user: b64decode(text).decode() for user, text in data.items()}


@pytest.mark.nats
@pytest.mark.parametrize("case", ["default", "single", "named", "clear", "encrypted"])
def test_nats_server_takes_its_configuration(
    rendered: Mapping[str, list[Object]], case: str, tmp_path: Path
) -> None:
    objects = rendered[case]
    config = configured(objects, tmp_path)
    if case != "clear":
        for name, text in named(objects, "Secret", "nats-tls")["data"].items():
            (tmp_path / name).write_bytes(b64decode(text))
    said = config.read_text().replace("/data", str(tmp_path / "data"))
    config.write_text(said.replace("/etc/nats-tls", str(tmp_path)))
    done = subprocess.run(
        [SERVER, "-t", "-c", config],
        capture_output=True,
        text=True,
        env={**os.environ, "POD_NAME": "post-postroad-nats-0"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("case", "shards"), [("default", 3), ("sharded", 5)])
def test_each_shard_is_imported_as_in_the_tests_of_the_accounts(
    rendered: Mapping[str, list[Object]], case: str, shards: int
) -> None:
    told = named(rendered[case], "ConfigMap", "nats")["data"]["nats-accounts.conf"]
    ours = expanded(CHART / "files" / "nats-accounts.conf", shards=shards)
    assert _lines(told) == _lines(ours)
    assert f'"pr.q.{shards - 1}.>"' in told


def test_the_chart_makes_a_certificate_that_its_authority_vouches_for(
    rendered: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    data = named(rendered["default"], "Secret", "nats-tls")["data"]
    leaf, authority = [
        x509.load_pem_x509_certificate(b64decode(data[name])) for name in ("tls.crt", "ca.crt")
    ]
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "*.post-postroad-nats-headless.mail.svc",
        "localhost",
    ]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    lasts = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert lasts > timedelta(days=700)
    key = named(rendered["default"], "Secret", "nats-ca")
    mounted = [
        volume.get("secret", {}).get("secretName")
        for each in rendered["default"]
        if each["kind"] in ("Deployment", "StatefulSet")
        for volume in each["spec"]["template"]["spec"]["volumes"]
    ]
    assert key["metadata"]["name"] not in mounted, "no pod needs to sign anything"


def test_only_servers_have_their_key(rendered: Mapping[str, list[Object]]) -> None:
    for kind in ("ingress", "delivery", "operator"):
        spec = named(rendered["default"], "Deployment", kind)["spec"]["template"]["spec"]
        (volume,) = [each for each in spec["volumes"] if each["name"] == "nats-ca"]
        assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"]
        (container,) = spec["containers"]
        said = {each["name"]: each.get("value") for each in container["env"]}
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "nats-ca"]
        assert said["POSTROAD_NATS_CA_FILE"] == f"{mount['mountPath']}/ca.crt"


def test_connections_are_in_clear_only_where_that_is_asked(
    rendered: Mapping[str, list[Object]],
) -> None:
    config = named(rendered["default"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert config.count("tls {") == 2  # for clients and for the other servers
    assert "handshake_first: true" in config
    assert "verify: true" in config
    assert "tls {" not in named(rendered["clear"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert "CA_FILE" not in json.dumps(rendered["clear"])
    for case in ("external", "clear"):
        assert not [each for each in rendered[case] if each["metadata"]["name"].endswith("-tls")]


def test_certificates_may_come_from_elsewhere(rendered: Mapping[str, list[Object]]) -> None:
    (certificate,) = [
        each for each in rendered["nats-cert-manager"] if each["kind"] == "Certificate"
    ]
    assert certificate["spec"]["usages"] == ["server auth", "client auth"]
    assert certificate["spec"]["secretName"] == "post-postroad-nats-tls"
    spec = named(rendered["nats-tls"], "StatefulSet", "nats")["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "theirs"
    for case in ("nats-cert-manager", "nats-tls"):
        secrets = {each["metadata"]["name"] for each in rendered[case] if each["kind"] == "Secret"}
        assert not any(name.endswith(("-nats-ca", "-nats-tls")) for name in secrets)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_a_process_reaches_jetstream_by_the_prefix_of_the_accounts(
    rendered: Mapping[str, list[Object]],
) -> None:
    for kind in ("ingress", "delivery", "operator"):
        template = named(rendered["default"], "Deployment", kind)["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert {"name": "POSTROAD_NATS_API_PREFIX", "value": API_PREFIX} in container["env"]
    service = named(rendered["default"], "Service", "nats")
    assert service["metadata"]["annotations"]["postroad.dev/api-prefix"] == API_PREFIX


def test_a_single_server_looks_for_no_others(
    rendered: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    config = named(rendered["single"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert "cluster {" not in config
    told = configured(rendered["default"], tmp_path).read_text()
    routes = re.findall(r"nats-route://[^\"]*", told)
    assert len(routes) == 3
    assert routes[0] == (
        f"nats-route://cluster:{passwords(rendered['default'])['cluster']}@post-postroad-nats-0"
        ".post-postroad-nats-headless.mail.svc:6222"
    )


def test_no_password_is_in_the_environment_of_a_server(
    rendered: Mapping[str, list[Object]],
) -> None:
    for case in ("default", "encrypted", "theirs"):
        spec = named(rendered[case], "StatefulSet", "nats")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert all("secretKeyRef" not in each.get("valueFrom", {}) for each in container["env"])
        assert "envFrom" not in container
        (volume,) = (each for each in spec["volumes"] if each["name"] == "secrets")
        names = [s["secret"]["name"] for s in volume["projected"]["sources"]]
        assert (
            names
            == {
                "default": ["post-postroad-nats-auth"],
                "encrypted": ["post-postroad-nats-auth", "disk"],
                "theirs": ["passwords"],
            }[case]
        )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("password: $X_PASSWORD", 'password: "1e5"'),
        ('routes: ["nats-route://cluster:$X_PASSWORD@a:6222"]', None),
        ('subject: "$KV.config.>", other: $POD_NAME', None),
        ("# $X_PASSWORD is said here", None),
    ],
)
def test_a_password_is_written_where_it_is_named(text: str, written: str | None) -> None:
    """In quotes, since nats-server would take 1e5 for a number."""
    found = START["filled"](text, {"X_PASSWORD": "1e5"})
    is_comment = text.startswith("#")
    assert found == (written or (text if is_comment else text.replace("$X_PASSWORD", "1e5")))


@pytest.mark.nats
async def test_a_server_has_its_passwords_from_files_and_not_in_its_environment(
    tmp_path: Path,
) -> None:
    etc, secrets, written, data = (tmp_path / name for name in ("etc", "secrets", "run", "data"))
    for folder in (etc, secrets, data):
        folder.mkdir()
    (port,) = free_ports(1)
    (etc / "nats-server.conf").write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{data}" }}\n'
        "authorization { user: operator, password: $OPERATOR_PASSWORD }\n"
    )
    (secrets / "OPERATOR_PASSWORD").write_text("1e5000\n")
    environ = {"CONFIGURATION": str(etc), "SECRETS": str(secrets), "WRITTEN_TO": str(written)}
    start = [sys.executable, "-IS", str(ROOT / "services" / "nats" / "start.py"), str(data)]
    command = [*start, str(SERVER), "--config", str(written / "nats-server.conf")]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    ) as server:
        heard(server, "Server is ready")
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user="operator", password="1e5000", allow_reconnect=False
        )
        await client.close()
        assert b"1e5000" not in Path(f"/proc/{server.pid}/environ").read_bytes()
        for each in (written, *written.iterdir()):
            assert each.stat().st_mode & 0o077 == 0, each
        server.terminate()


def test_passwords_are_taken_for_no_number(rendered: Mapping[str, list[Object]]) -> None:
    found = passwords(rendered["default"]).values()
    assert len(set(found)) == 5
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]{31}", each) for each in found)
    keys = named(rendered["default"], "Secret", "cluster-key")["data"].values()
    assert [len(b64decode(b64decode(key))) for key in keys] == [32, 32]
    assert len(set(keys)) == 2


def test_the_servers_are_as_the_embedded_one(rendered: Mapping[str, list[Object]]) -> None:
    config = named(rendered["default"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert f"max_payload: {MAX_PAYLOAD}\n" in config
    assert "sync_interval: always" in config
    paths = {"logfile": Path("nats.log"), "store": Path("nats")}
    embedded = server_config(ServerAddress(1, 2), token="any", capacity=0, **paths)
    assert "sync_interval: always" in embedded


def test_volumes_outlive_the_release_and_servers_start_together(
    rendered: Mapping[str, list[Object]],
) -> None:
    spec = named(rendered["default"], "StatefulSet", "nats")["spec"]
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert spec["podManagementPolicy"] == "Parallel"
    assert (
        environment(rendered["default"], "StatefulSet", "nats")["GOMEMLIMIT"] == "838860KiB"
    )  # 80 % of 1Gi


def test_a_changed_configuration_restarts_the_servers(
    rendered: Mapping[str, list[Object]],
) -> None:
    def checksum(case: str) -> str:
        template = named(rendered[case], "StatefulSet", "nats")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum("default") == checksum("pools")
    assert checksum("default") != checksum("single")


def started(folder: Path, more: str = "", **environ: str) -> subprocess.Popen[str]:
    """Start a server as the image does, with its queue in a folder."""
    start = [sys.executable, "-IS", str(ROOT / "services" / "nats" / "start.py"), str(folder)]
    config = folder / "nats-server.conf"
    config.write_text(f'port: -1\njetstream {{ store_dir: "{folder}" }}\n{more}')
    command = [*start, str(SERVER), "--config", str(config)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def heard(server: subprocess.Popen[str], words: str) -> None:
    """Read what a server says until it says that."""
    assert server.stderr is not None
    assert any(words in line for line in server.stderr), f"it never said {words!r}"


@pytest.mark.nats
def test_a_server_waits_for_the_one_that_still_has_its_folder(tmp_path: Path) -> None:
    with started(tmp_path) as first:
        heard(first, "Server is ready")
        with started(tmp_path) as second:
            heard(second, "is in use")
            first.kill()
            heard(second, "Server is ready")
            second.terminate()
        with started(tmp_path) as third:
            heard(third, "Server is ready")
            with started(tmp_path) as fourth:
                heard(fourth, "is in use")
                fourth.terminate()
                assert fourth.wait() == 0
            third.kill()


@pytest.mark.nats
def test_a_changed_certificate_is_read_again_without_a_restart(tmp_path: Path) -> None:
    """Over 5 s: that often the folder is looked at."""
    secret = tmp_path / "secret"
    secret.mkdir()
    tls = ServerTls(secret)
    with started(tmp_path, tls.config, RELOAD_WITH=str(secret)) as server:
        heard(server, "Server is ready")
        tls.renew("second")
        heard(server, "Reloaded: tls")
        assert server.poll() is None
        server.terminate()


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
