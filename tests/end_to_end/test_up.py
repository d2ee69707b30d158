"""`postroad up` as users see it: what it prints, what it refuses, how it ends."""

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink
from postroad.testing.children import dies_with_us, started
from postroad.testing.patience import patient
from postroad.testing.processes.relay import FREE_PORTS, RunningRelay
from postroad_harness.source import Deliveries, Source

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.nats

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]

CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
"""
RELAY = """\
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: out}}
spec:
  destinations: ["*"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
"""


def get(address: str, page: str) -> tuple[int, str]:
    """Fetch a page of the HTTP endpoint."""
    with urllib.request.urlopen(f"http://{address}{page}", timeout=patient(10)) as answer:
        return answer.status, answer.read().decode()


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


async def test_the_queue_of_one_machine_has_gauges(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    _, port = await sink_port(defer_share=1.0)
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    account = await Source(relay.port()).send(2)
    assert len(account.accepted) == 2
    async with asyncio.timeout(patient(30)):
        while True:  # they are counted every five seconds
            _, page = await asyncio.to_thread(get, relay.addresses["http"], "/metrics")
            found = gauges(page, "postroad_queue_")
            if found["postroad_queue_waiting,deferred"] == 2:
                break
            await asyncio.sleep(0.2)
    assert found["postroad_queue_oldest_seconds,deferred"] > 0
    assert found["postroad_queue_oldest_seconds,held"] == 0
    assert found["postroad_queue_ready,transactional"] == 0
    assert found["postroad_queue_storage_used_bytes"] > 0
    assert found["postroad_queue_storage_used_bytes"] < found["postroad_queue_storage_limit_bytes"]
    series = r'^postroad_queue_publish_records_sum{process="(\w+)-\d"} (\d+)'
    stored = re.findall(series, page, re.MULTILINE)
    assert {role: int(count) for role, count in stored} == {"ingress": 2, "delivery": 2}
    assert gauges(page, "postroad_operator_objects") == {
        f"postroad_operator_objects,{kind},{ready}": float(
            (kind, ready) in (("Client", "true"), ("Relay", "true"))
        )
        for kind in ("Client", "Domain", "DomainGrant", "Quota", "Relay")
        for ready in ("true", "false")
    }


async def test_status_tells_what_is_wrong_with_the_objects(
    start_relay: StartRelay, unused_tcp_port: int
) -> None:
    relay = await start_relay(CLIENT + RELAY.format(port=unused_tcp_port))
    out = await status_with(relay, "ConnectionRefused")
    assert f"127.0.0.1:{unused_tcp_port} refuses connections" in out
    assert "Mistakes" not in out
    relay.manifests.write_text(CLIENT + RELAY.format(port="oops"))
    _, out, _ = await relay.command("check", str(relay.manifests))
    told = out.splitlines()[0]
    out = await status_with(relay, "Stale")
    assert told in out
    _, out, _ = await relay.command("status", "--json")
    objects = json.loads(out)["objects"]
    assert objects["mistakes"] == [told]
    assert ("Relay default/out", "Ready", "Stale") in [
        (each["object"], each["condition"], each["reason"]) for each in objects["troubles"]
    ]
    assert (await asyncio.to_thread(get, relay.addresses["http"], "/readyz"))[0] == 200


async def status_with(relay: RunningRelay, word: str) -> str:
    """Return what `postroad status` says once it has a word; what is looked at takes a moment."""
    async with asyncio.timeout(patient(30)):
        while True:
            code, out, err = await relay.command("status")
            assert code == 0, err
            if word in out:
                return out


def gauges(page: str, prefix: str) -> dict[str, float]:
    """Return the series of a page of metrics by name and label values, without the process."""
    found = {}
    for line in page.splitlines():
        if line.startswith(prefix):
            series, _, value = line.rpartition(" ")
            labels = re.findall('(?<!process)="([^"]*)"', series)
            found[",".join([series.partition("{")[0], *labels])] = float(value)
    return found


async def test_listeners_can_be_switched_off(tmp_path: Path) -> None:
    flags = ("--relay", "127.0.0.1:0", "--submission", "", "--submissions", "none")
    async with started("up", "--state", str(tmp_path), *flags, "--http", "none") as process:
        assert process.stdout is not None
        ready = (await asyncio.wait_for(process.stdout.readline(), patient(20))).decode()
        assert re.fullmatch(r"postroad is ready: relay 127\.0\.0\.1:\d+\n", ready)


async def test_a_relay_is_called_what_its_flag_says(tmp_path: Path) -> None:
    name = ("--hostname", "Mail.Relay.Example")
    async with started("up", "--state", str(tmp_path), *FREE_PORTS, *name) as process:
        assert process.stdout is not None
        ready = (await asyncio.wait_for(process.stdout.readline(), patient(20))).decode()
        port = int(ready.split()[4].rstrip(",").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        greeting = await asyncio.wait_for(reader.readline(), patient(10))
        assert greeting.startswith(b"220 mail.relay.example ")
        writer.close()


async def test_a_name_that_others_may_refuse_is_told_at_the_start(
    start_relay: StartRelay,
) -> None:
    world = "---\napiVersion: postroad.dev/v1alpha1\nkind: Relay\nmetadata: {name: world}\n"
    name = socket.getfqdn()
    relay = await start_relay(CLIENT + world + "spec: {mx: {}}\n", POSTROAD_HOSTNAME="")
    told = [json.loads(line) for line in relay.log.read_text().splitlines()]
    reasons = [line["reason"] for line in told if line["level"] == "warning"]
    hint = f"it is {name}; --hostname takes the name that its address has in the DNS"
    assert reasons == ([] if "." in name else [hint])


async def test_status_queue_and_events_speak_for_the_cluster(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    _, port = await sink_port(defer_share=1.0)
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    code, out, err = await relay.command(
        *("send", "--server", relay.addresses["relay"], "--to", "you@far.example", "--json")
    )
    assert code == 0, err
    queue_id = json.loads(out)["queue_id"]
    async with asyncio.timeout(patient(20)):
        while True:
            _, out, _ = await relay.command("queue", "list", "--deferred", "--json")
            if out:
                break
    row = json.loads(out)
    assert (row["queue_id"], row["attempts"]) == (queue_id, 1)
    assert "deferred as told" in row["recipients"][0]["last_reply"]
    code, out, _ = await relay.command("events", "--id", queue_id, "--json")
    assert [json.loads(line)["type"] for line in out.splitlines()] == [
        "Reception",
        "TransientFailure",
    ]
    code, out, _ = await relay.command("status", "--json")
    status = json.loads(out)
    assert status["accepting"] is True
    assert {p["process"] for p in status["processes"]} >= {"ingress-0", "delivery-0"}
    assert status["queue"]["deferred"] == 1
    code, out, err = await relay.command(
        *("queue", "hold", "--id", queue_id, "--reason", "ticket 5", "--json")
    )
    assert code == 0, err
    assert json.loads(out)["affected"] == 1
    _, out, _ = await relay.command("queue", "list", "--held", "--json")
    assert (json.loads(out)["hold_reason"], json.loads(out)["hold_note"]) == ("Admin", "ticket 5")
    code, out, err = await relay.command(
        *("queue", "bounce", "--id", queue_id, "--reason", "wrong list", "--yes", "--json")
    )
    assert json.loads(out)["affected"] == 1
    _, out, _ = await relay.command("events", "--id", queue_id, "--json")
    said = [(event["type"], event.get("reason")) for event in map(json.loads, out.splitlines())]
    assert said[-2:] == [("Held", "ticket 5"), ("AdminBounce", "wrong list")]
    _, out, _ = await relay.command("queue", "delete", "--from", "<>", "--yes", "--json")
    assert (json.loads(out)["matching"], json.loads(out)["affected"]) == (1, 1)
    _, out, _ = await relay.command("queue", "list")
    assert out == "The queue is empty.\n"
    _, out, _ = await relay.command("events", "--type", "AdminDelete", "--json")
    assert json.loads(out)["reason"] == "by order"


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


async def test_an_empty_configuration_is_told_at_the_start(start_relay: StartRelay) -> None:
    relay = await start_relay("# nothing\n")
    assert "no object is configured" in relay.log.read_text()


async def test_an_ingress_with_few_descriptors_says_so_and_has_as_many_places(
    start_relay: StartRelay,
) -> None:
    """Without descriptors it could not even say 421 to whom it has no place for."""
    relay = await start_relay(CLIENT)
    resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (200, 200))  # its next children's, too
    relay.kill_child("ingress-0")
    async with asyncio.timeout(patient(20)):
        while "too few file descriptors" not in relay.log.read_text():
            await asyncio.sleep(0.1)
    lines = relay.log.read_text().splitlines()
    [told] = [json.loads(line) for line in lines if "too few file descriptors" in line]
    assert told["count"] == 136
    assert told["error"].endswith("200 may be had")
