"""What `postroad up` and the commands beside it tell: at the start, in gauges and in status."""

import asyncio
import json
import os
import re
import resource
import signal
import socket
from pathlib import Path

import pytest

from postroad.testing.children import started
from postroad.testing.patience import patient
from postroad.testing.processes.relay import FREE_PORTS, RunningRelay
from postroad_harness.setups.up import CLIENT, RELAY, OpenSink, StartRelay, get
from postroad_harness.source import Source

pytestmark = pytest.mark.nats


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


async def test_events_are_followed_over_a_restart(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    """Takes 10 s until the reader looks where the relay is now. It was silent from then on."""
    _, port = await sink_port()
    relay = await start_relay(CLIENT + RELAY.format(port=port))
    environment = {**os.environ, "POSTROAD_STATE": str(relay.state)}
    words = ("events", "--follow", "--json", "--type", "accepted")
    async with started(*words, environment=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(patient(60)):
            for number in (1, 2):
                if number == 2:
                    assert await relay.stop() == 0
                    await relay.start()
                await Source(relay.port()).send(number)
                told = [json.loads(await process.stdout.readline()) for _ in range(number)]
                assert len({event["queue_id"] for event in told}) == number
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert b"waiting for it" in err
    assert b"the relay answers again" in err


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
