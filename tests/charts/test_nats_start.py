"""How a server of the queue starts in its pod: with its passwords, its folder and certificate."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nats
import pytest

from postroad.testing.queue.nats_server import free_ports
from postroad.testing.queue.server_tls import ServerTls
from postroad_harness.cluster.chart import CHART, Object, named
from postroad_harness.setups.spool.volumes import fill, volume

ROOT = CHART.parents[1]
SERVER = Path(sys.executable).with_name("nats-server")
START = runpy.run_path(str(ROOT / "services" / "nats" / "start.py"))


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
def test_a_server_waits_for_room_on_its_disk(tmp_path: Path) -> None:
    """Over 5 s: that often the disk is looked at."""
    with volume(tmp_path / "volume", 64) as full:
        (full / "nats-server.lock").touch()
        (full / "nats-server.conf").write_text(" " * 4096)
        ballast = fill(full)
        with started(full) as server:
            try:
                assert server.stderr is not None
                assert "waiting for room" in server.stderr.readline()
                ballast.unlink()
                heard(server, "Server is ready")
            finally:
                server.kill()


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
