"""`postroad up` as users see it: how mail goes through, what it refuses, how it ends."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from postroad.testing.children import dies_with_us, started
from postroad.testing.patience import patient
from postroad.testing.processes.relay import FREE_PORTS, RunningRelay
from postroad_harness.setups.up import CLIENT, RELAY, OpenSink, StartRelay, get
from postroad_harness.source import Deliveries, Source

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.nats


async def test_mail_goes_through_and_term_ends_it_with_zero(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    sink, port = await sink_port()
    # How to reach another cluster is no business of the processes of this one.
    relay = await start_relay(
        CLIENT + RELAY.format(port=port),
        POSTROAD_NATS_TOKEN="of another",
        POSTROAD_NATS_USER="somebody",
    )
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    source = Source(relay.port())
    account = await source.send(5)
    assert len(account.accepted) == 5
    await deliveries.wait_for(account, seconds=20)
    status, _ = await asyncio.to_thread(get, relay.addresses["http"], "/readyz")
    assert status == 200
    _, metrics = await asyncio.to_thread(get, relay.addresses["http"], "/metrics")
    assert 'process="ingress-0"' in metrics
    assert 'process="delivery-0"' in metrics
    assert await relay.stop() == 0


async def test_what_is_queued_survives_a_restart(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    sink, port = await sink_port(defer_share=1.0)
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    account = await Source(relay.port()).send(3)
    assert await relay.stop() == 0
    await relay.start()
    sink.behaviour = sink.behaviour.__class__()
    code, _, err = await relay.command("queue", "retry", "--all")
    assert code == 0, err
    await deliveries.wait_for(account, seconds=20)


async def test_edited_manifests_apply_live(start_relay: StartRelay, sink_port: OpenSink) -> None:
    _, first_port = await sink_port()
    second, second_port = await sink_port()
    relay = await start_relay(CLIENT + RELAY.format(port=first_port))
    deliveries = Deliveries()
    second.on_taken = deliveries.note
    relay.manifests.write_text(CLIENT + RELAY.format(port=second_port))
    source = Source(relay.port())
    async with asyncio.timeout(patient(20)):
        while not deliveries.counts:
            await source.send(1)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(deliveries.changed.wait(), 0.2)
    relay.manifests.write_text(CLIENT.replace("Client", "Clinet"))
    await source.send(1)
    assert source.account.refused == set()


async def test_a_smarthost_that_is_withdrawn_gets_no_mail_that_waited_for_it(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    withdrawn, first_port = await sink_port()
    second, second_port = await sink_port()
    one_an_hour = RELAY.format(port=first_port) + "  limits: {messageRate: 1/1h}\n"
    relay = await start_relay(CLIENT + one_an_hour)
    deliveries = Deliveries()
    withdrawn.on_taken = second.on_taken = deliveries.note
    account = await Source(relay.port()).send(5)
    await asyncio.wait_for(deliveries.changed.wait(), patient(20))
    relay.manifests.write_text(CLIENT + RELAY.format(port=second_port))
    await deliveries.wait_for(account, seconds=20)
    assert withdrawn.counts.accepted == 1
    assert deliveries.duplicated() == set()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux has SCHED_BATCH, others have not")
async def test_the_server_interrupts_nobody_on_its_processors(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    _, port = await sink_port()
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    for name, pid in relay.children().items():
        threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        expected = os.SCHED_BATCH if name == "nats-server" else os.SCHED_OTHER
        assert {os.sched_getscheduler(thread) for thread in threads} == {expected}, name


async def test_an_orphaned_server_is_ended_before_the_next(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    """nats-server outlives a killed `up` only when its signal is lost; it is ended then."""
    _, port = await sink_port()
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    server = relay.children()["nats-server"]
    os.kill(server, signal.SIGSTOP)  # it cannot act on the signal its parent's death sends
    await relay.kill()
    os.kill(server, signal.SIGCONT)
    await relay.start()
    assert not Path(f"/proc/{server}").exists() or server not in relay.children().values()
    assert len((await Source(relay.port()).send(1)).accepted) == 1


async def test_a_reader_that_has_gone_does_not_end_the_relay(tmp_path: Path) -> None:
    """As a script that reads up to the ready line, or one that looks at the log alone."""
    flags = ("--state", str(tmp_path / "state"), *FREE_PORTS[:-1], "none")
    reading, writing = os.pipe()
    notices, notify = os.pipe()
    os.close(reading)
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.cli", "up", *flags),
            stdout=writing,
            stderr=errors,
            pass_fds=(notify,),
            env={**os.environ, "POSTROAD_NOTIFY_FD": str(notify)},
            preexec_fn=dies_with_us(),
        )
    os.close(writing)
    os.close(notify)
    with os.fdopen(notices) as told:
        notice = await asyncio.wait_for(asyncio.to_thread(told.readline), patient(30))
    assert notice, log.read_text()
    process.terminate()
    assert await asyncio.wait_for(process.wait(), patient(30)) == 0
    assert "BrokenPipe" not in log.read_text()


async def test_the_example_set_is_complete(tmp_path: Path) -> None:
    async with started("up", "--state", str(tmp_path), *FREE_PORTS) as process:
        assert process.stdout is not None
        ready = (await asyncio.wait_for(process.stdout.readline(), patient(20))).decode()
        port = int(ready.split()[4].rstrip(",").rpartition(":")[2])
        assert len((await Source(port).send(1)).accepted) == 1
        async with asyncio.timeout(patient(20)):
            while not list((tmp_path / "sink").glob("*.eml")):
                await asyncio.sleep(0.05)
        process.terminate()
        await process.communicate()
        assert process.returncode == 0


async def test_listeners_can_be_switched_off(tmp_path: Path) -> None:
    flags = ("--relay", "127.0.0.1:0", "--submission", "", "--submissions", "none")
    async with started("up", "--state", str(tmp_path), *flags, "--http", "none") as process:
        assert process.stdout is not None
        ready = (await asyncio.wait_for(process.stdout.readline(), patient(20))).decode()
        assert re.fullmatch(r"postroad is ready: relay 127\.0\.0\.1:\d+\n", ready)


@pytest.mark.parametrize("http", ["127.0.0.1:0", "none"])
async def test_nobody_else_reads_the_state_folder_whatever_the_umask(
    http: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    flags = ("--state", str(state), *FREE_PORTS[:-1], http)
    before = os.umask(0)
    try:
        async with started("up", *flags) as process:
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readline(), patient(20))
            _check_modes(state)
    finally:
        os.umask(before)


def _check_modes(state: Path) -> None:
    """Compare the modes of what is in a state folder with those that are documented."""
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page.partition("## The state folder")[2].partition("\n## ")[0]
    documented = {
        name.rstrip("/"): int(mode, 8)
        for names, mode in re.findall(r"^\| (`.*?`) \| (0\d+) \|", table, re.MULTILINE)
        for name in re.findall(r"`(.*?)`", names)
    }
    found = {
        str(path.relative_to(state)): path.stat().st_mode & 0o777
        for path in (*state.glob("*"), *state.glob("tls/*"))
    }
    assert {name: oct(mode) for name, mode in found.items()} == {
        name: oct(documented[name]) for name in found
    }
    assert {
        "ingress.key",
        "delivery.key",
        "access.json",
        "tls/key.pem",
        "tls/.lock",
        "nats",
    } <= found.keys()
    assert state.stat().st_mode & 0o777 == 0o700
    inside = [*state.glob("example/*"), state / "nats" / "jetstream"]
    assert not any(path.stat().st_mode & 0o077 for path in inside)


async def test_manifests_that_are_all_gone_change_nothing_but_the_log(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    sink, port = await sink_port()
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    relay.manifests.rename(relay.manifests.with_suffix(".away"))
    relay.manifests.write_text("# nothing\n")
    await logged(relay, "no object is configured")
    # Told again, since all objects are in force still.
    relay.manifests.write_text("# nothing else\n")
    await logged(relay, "no object is configured", 2)
    account = await Source(relay.port()).send(3)
    assert len(account.accepted) == 3
    await deliveries.wait_for(account, seconds=20)
    relay.manifests.write_text(CLIENT)  # what is left out of some is out of force, as ever
    await logged(relay, "manifests published")


async def logged(relay: RunningRelay, words: str, times: int = 1) -> None:
    """Wait until the relay has logged something so many times."""
    async with asyncio.timeout(patient(20)):
        while relay.log.read_text().count(words) < times:
            await asyncio.sleep(0.1)
