"""`postroad up` refuses wrong settings with one clear line, before anything is started."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.js.api import StreamConfig

from postroad.cli.standalone.example import write_example
from postroad.testing.children import ChildProcess, run, running_python, started
from postroad.testing.patience import patient
from postroad.testing.processes.relay import FREE_PORTS, RunningRelay
from postroad.testing.queue.nats_server import NatsServer

QUIET = {**os.environ, "POSTROAD_LOG_LEVEL": "error"}

pytestmark = pytest.mark.nats

StartRelay = Callable[..., Awaitable[RunningRelay]]

CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
"""


SMARTHOST = """\
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], smarthosts: [{host: 127.0.0.1, port: 1}]}
"""


async def run_up(*flags: str, **environment: str) -> tuple[int, str, str]:
    """Run `postroad up` to its end; return exit code, output, error output."""
    variables = {**os.environ, "POSTROAD_LOG_LEVEL": "error", **environment}
    return await asyncio.wait_for(run("up", *flags, environment=variables), patient(30))


async def run_limited_up(limit: str, most: int, *flags: str) -> tuple[int | None, str]:
    """Run `postroad up` with a resource limit (`NOFILE`); return exit code and error output."""
    async with limited_up(limit, most, most, *flags) as process:
        _, err = await asyncio.wait_for(process.communicate(), patient(30))
    return process.returncode, err.decode()


@asynccontextmanager
async def limited_up(limit: str, soft: int, hard: int, *flags: str) -> AsyncIterator[ChildProcess]:
    first = f"import resource; resource.setrlimit(resource.RLIMIT_{limit}, ({soft}, {hard}))"
    program = f"{first}; from postroad.cli.__main__ import main; main()"
    words = ("-IBc", program, "up", *FREE_PORTS, *flags)
    async with running_python(*words, environment=QUIET) as process:
        yield process


async def run_program(*words: str) -> tuple[int | None, str, str]:
    """Run Python with these words to its end; return exit code, output, error output."""
    async with running_python(*words, environment=QUIET) as process:
        out, err = await asyncio.wait_for(process.communicate(), patient(30))
    return process.returncode, out.decode(), err.decode()


async def test_a_second_up_on_the_same_folder_is_refused(start_relay: StartRelay) -> None:
    relay = await start_relay(CLIENT)
    # Its own ports are the first thing that a second one finds taken.
    taken = [each for name, at in relay.addresses.items() for each in (f"--{name}", at)]
    code, out, err = await run_up("--state", str(relay.state), *taken)
    assert code == 1
    assert "ready" not in out
    assert f"(pid {relay.pid}) runs on {relay.state}" in err
    assert "Traceback" not in err


async def test_the_example_is_not_run_on_the_state_of_a_relay_with_manifests(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(CLIENT)
    assert await relay.stop() == 0
    code, out, err = await run_up("--state", str(relay.state), *FREE_PORTS)
    assert code == 2
    assert "ready" not in out
    assert len(err.strip().splitlines()) == 1
    assert f"--config {relay.manifests}" in err
    assert "--state" in err
    assert not (relay.state / "sink").exists()


@pytest.mark.parametrize("example_ran_before", [False, True])
async def test_the_example_takes_no_mail_of_a_queue_that_was_restored(
    start_relay: StartRelay, tmp_path: Path, example_ran_before: bool
) -> None:
    """Nothing notes there what --config named, nor did older releases."""
    relay = await start_relay(CLIENT + SMARTHOST)
    assert await relay.stop() == 0
    restored = tmp_path / "restored"
    shutil.copytree(relay.state / "nats", restored / "nats")
    for key in relay.state.glob("*.key"):
        shutil.copy2(key, restored)
    if example_ran_before:
        write_example(restored / "example", port=2525)
    code, out, err = await run_up("--state", str(restored), *FREE_PORTS)
    assert code == 2
    assert "ready" not in out
    assert len(err.strip().splitlines()) == 1
    assert "whose mail the example's sink would take; give --config" in err
    assert not (restored / "sink").exists()
    assert (restored / "example").exists() is example_ran_before


async def test_the_example_starts_again_without_its_files(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        async with started("up", "--state", str(state), *FREE_PORTS) as process:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), patient(20))
            assert line.startswith(b"postroad is ready")
            process.terminate()
            assert await process.wait() == 0
        shutil.rmtree(state / "example")


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = [*FREE_PORTS]
        flags[1] = f"127.0.0.1:{port}"
        code, _, err = await run_up("--state", str(tmp_path), *flags)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert f"127.0.0.1:{port}" in err
    assert "choose another port" in err


async def test_a_state_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = await run_up("--state", str(tmp_path / "file" / "state"), *FREE_PORTS)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "cannot write the state folder" in err


async def test_a_state_folder_with_a_comma_is_one_clear_line(tmp_path: Path) -> None:
    code, _, err = await run_up("--state", str(tmp_path / "mail,out"), *FREE_PORTS)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert f"the state folder {tmp_path}/mail,out has a comma in its path" in err


@pytest.mark.parametrize(("octets", "file"), [(0, "up.lock"), (100, "nats.conf")])
async def test_a_volume_without_room_is_one_clear_line(
    tmp_path: Path, octets: int, file: str
) -> None:
    code, err = await run_limited_up("FSIZE", octets, "--state", str(tmp_path / "state"))
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert f"cannot write {tmp_path / 'state' / file}: " in err
    assert "make room" in err


@pytest.mark.parametrize(
    ("limit", "workers", "needed"), [(8, 1, 128), (32, 1, 128), (127, 1, 128), (128, 64, 1136)]
)
async def test_too_few_open_files_are_one_clear_line(
    tmp_path: Path, limit: int, workers: int, needed: int
) -> None:
    many = ("--workers", f"ingress={workers},delivery={workers}")
    code, err = await run_limited_up("NOFILE", limit, "--state", str(tmp_path / "state"), *many)
    assert code == 1
    assert err.strip() == (
        f"postroad: `postroad up` needs {needed} open files, and {limit} are allowed;"
        " raise the limit (ulimit -Hn, LimitNOFILE)"
    )


async def test_a_machine_without_file_descriptors_for_its_processes_is_told_so(
    tmp_path: Path,
) -> None:
    """A process's own limit is looked at before. This is the kernel's, which others use up."""
    lacking = """
import errno, os, sys
pipe = os.pipe
def lacking():
    if sys._getframe(1).f_code.co_filename.endswith("supervisor.py"):
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
    return pipe()
os.pipe = lacking
from postroad.cli.__main__ import main
main()
"""
    words = ("-IBc", lacking, "up", *FREE_PORTS, "--state", str(tmp_path / "state"))
    code, out, err = await run_program(*words)
    assert code == 1
    assert "ready" not in out
    assert "Traceback" not in err
    assert "raise the limit of open files" in err.strip().splitlines()[-1]


async def test_as_many_open_files_as_up_asks_for_are_enough(tmp_path: Path) -> None:
    async with limited_up("NOFILE", 32, 128, "--state", str(tmp_path / "state")) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), patient(20))
        assert line.startswith(b"postroad is ready")
        process.terminate()
        assert await process.wait() == 0


async def test_a_server_that_will_not_start_is_one_clear_line(tmp_path: Path) -> None:
    # A file stands where the server wants its folder.
    state = tmp_path / "state"
    (state / "nats").mkdir(parents=True)
    (state / "nats" / "jetstream").write_text("not a folder")
    code, _, err = await run_up("--state", str(state), *FREE_PORTS)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "nats-server" in err
    assert "nats.log" in err


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (StreamConfig(name="POSTROAD_Q_0", subjects=["pr.q.0.>"]), "retention policy"),
        (
            StreamConfig(name="KV_cluster", subjects=["$KV.cluster.>"], max_msgs_per_subject=1),
            "no build up to this one wrote its layout",
        ),
    ],
)
async def test_a_queue_that_cannot_be_taken_over_is_one_clear_line(
    tmp_path: Path, stored: StreamConfig, says: str
) -> None:
    async with NatsServer(tmp_path) as server:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(stored)
        if stored.name == "KV_cluster":
            await client.jetstream().publish("$KV.cluster.meta", b'{"layout": "of another kind"}')
        await client.close()
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "jetstream").rename(state / "nats")
    code, _, err = await run_up("--state", str(state), *FREE_PORTS)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert f"the queue in {state / 'nats'} cannot be taken over: " in err
    assert says in err
    assert "--state" in err


async def test_wrong_manifests_are_listed_with_file_line_and_field(tmp_path: Path) -> None:
    manifest = tmp_path / "wrong.yaml"
    manifest.write_text(CLIENT.replace("127.0.0.0/8", "127.0.0.0/88"))
    code, _, err = await run_up(
        "--config", str(manifest), "--state", str(tmp_path / "state"), *FREE_PORTS
    )
    assert code == 1
    assert f"{manifest}:4: spec.networks[0]: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--relay", "nonsense"), "--relay"),
        (("--workers", "ingress=0"), "--workers takes ingress=N,delivery=N"),
        (("--resolver", "[::1"), "--resolver"),
        (("--resolver", "dns.example"), "--resolver: 'dns.example' names a host"),
        (("--relay", "dns.example"), "--relay"),
        (("--hostname", "no name"), "--hostname: 'no name'"),
        (("--relay", "none", "--submission", "", "--submissions", "none"), "every port is off"),
        (("--no-such-flag",), "No such option"),
    ],
)
async def test_wrong_flags_say_what_is_right(flags: tuple[str, ...], says: str) -> None:
    code, _, err = await run_up(*flags)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
