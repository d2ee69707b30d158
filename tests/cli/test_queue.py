"""The `queue` commands on a real queue: what they list and print."""

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

import nats
import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Held, Ready
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import Hold
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now
from postroad_harness.noted_up import noted_up
from postroad_harness.waiting_mail import HOUR, Run, put, put_for, rows

pytestmark = pytest.mark.nats


async def test_a_listing_is_by_age_and_counts_the_parts_of_a_message(
    spool: JetStreamSpool, run: Run
) -> None:
    young = await put(spool, "a@one.example", age=timedelta(minutes=5))
    old = await put(spool, "a@one.example", "b@two.example", age=timedelta(hours=5))
    _, out, _ = await run("queue", "list")
    cells = [line.split() for line in out.splitlines()]
    assert [(line[0], line[1]) for line in cells] == [
        ("QUEUE", "ID"),
        (old, "1/2"),
        (old, "2/2"),
        (young, "deferred"),
    ]
    _, out, _ = await run("queue", "list", "--json")
    assert [row["queue_id"] for row in rows(out)] == [old, old, young]
    _, out, err = await run("queue", "list", "--limit", "2")
    assert young not in out
    assert "oldest 2 of 3" in err


async def test_a_listing_says_why_mail_is_held_and_what_comes_next(
    spool: JetStreamSpool, run: Run
) -> None:
    hold = Hold("Admin", note="ticket 5")
    await put(spool, "a@one.example", place=Held(now() + timedelta(days=20)), hold=hold)
    queue_id = await put(spool, "b@two.example", place=Ready(), age=HOUR)
    _, out, _ = await run("queue", "list")
    assert "held (ticket 5)" in out
    assert "release in 19d" in out
    [line] = [line.split() for line in out.splitlines() if queue_id in line]
    assert line[:7] == [queue_id, "ready", "21", "B", "60m", "now", "0"]
    _, out, _ = await run("queue", "list", "--held", "--json")
    [row] = rows(out)
    assert (row["hold_reason"], row["hold_note"]) == ("Admin", "ticket 5")


@pytest.mark.parametrize("columns", [40, 80, 150])
async def test_tables_fit_the_terminal(spool: JetStreamSpool, run: Run, columns: int) -> None:
    await put(spool, "somebody.with.a.long.name@a.long.name.of.a.domain.example")
    for words in (("queue", "list"), ("status",), ("queue", "orders")):
        _, out, _ = await run(*words, COLUMNS=str(columns))
        tables = [line for line in out.splitlines() if not line.startswith("queue:")]
        assert max(map(len, tables)) <= columns
    _, out, _ = await run("queue", "list", "-o", "wide", COLUMNS="40")
    assert "somebody.with.a.long.name@a.long.name.of.a.domain.example" in out
    assert "LAST REPLY" in out


async def test_status_tells_who_cannot_read_all_of_the_configuration(
    spool: JetStreamSpool, run: Run
) -> None:
    await spool.sessions.announce(7, stale=True)
    _, out, _ = await run("status")
    assert "  7, not all of it  " in out
    _, out, _ = await run("status", "--json")
    assert [each["stale"] for each in json.loads(out)["processes"]] == [True]


async def test_status_tells_of_no_generation_where_a_process_has_none(
    server: NatsServer, run: Run
) -> None:
    up = await connect(SpoolOptions((server.url,), role="operator", process="up"))
    _, out, _ = await run("status")
    [row] = [line.split() for line in out.splitlines() if line.startswith("up ")]
    assert row == ["up", "operator", "default", row[-2], "ago"]
    _, out, _ = await run("status", "--json")
    assert [each["generation"] for each in json.loads(out)["processes"]] == [None]
    await up.close()


async def test_status_names_a_stream_that_takes_no_mail(
    server: NatsServer, spool: JetStreamSpool, run: Run
) -> None:
    broken = [["POSTROAD_I_2", "no answer\nin 3 s"], ["POSTROAD_X_2", "x"], ["POSTROAD_I_x", "x"]]
    session = {
        "session_id": "a" * 32,
        "role": "ingress",
        "process": "ingress-0",
        "pool": "default",
        "generation": 1,
        "started": now().isoformat(),
        "refusing": broken,
    }
    outside = await nats.connect(server.url)
    key = f"$KV.presence.session.ingress.{session['session_id']}"
    await outside.jetstream().publish(key, json.dumps(session).encode())
    await outside.close()
    _, out, _ = await run("status")
    assert "\nPOSTROAD_I_2 takes no mail: no answer\\nin 3 s; new mail goes to" in out
    assert "POSTROAD_X_2" not in out
    _, out, _ = await run("status", "--json")
    assert json.loads(out)["refusing"] == {"POSTROAD_I_2": "no answer\nin 3 s"}


async def test_status_says_how_many_domains_its_table_leaves_out(
    spool: JetStreamSpool, run: Run
) -> None:
    for number in range(12):
        await put(spool, f"x@d{number}.example")
    _, out, _ = await run("status")
    assert sum(line.startswith("d") for line in out.splitlines()) == 10
    assert "and 2 more" in out
    _, out, _ = await run("status", "--json")
    assert len(json.loads(out)["domains"]) == 12


async def test_status_is_in_one_order_and_says_what_is_stuck(
    spool: JetStreamSpool, run: Run
) -> None:
    for domain in ("b.example", "c.example", "a.example"):
        await put(spool, f"x@{domain}", age=timedelta(hours=3))
    await put(spool, "x@c.example", age=timedelta(days=3))
    _, out, _ = await run("status")
    assert "ready 0, deferred 4, held 0\n" in out
    lines = [line.split() for line in out.splitlines() if ".example" in line]
    assert [(line[0], line[4]) for line in lines] == [
        ("c.example", "3d"),
        ("a.example", "3h"),
        ("b.example", "3h"),
    ]
    _, out, _ = await run("status", "-o", "json")
    assert json.loads(out)["queue"] == {"ready": 0, "deferred": 4, "held": 0}
    domains = json.loads(out)["domains"]
    assert domains["c.example"]["deferred"] == 2
    assert list(domains) == ["c.example", "a.example", "b.example"]
    moment = domains["c.example"]["oldest"]
    assert moment.endswith("Z")
    assert datetime.fromisoformat(moment) < now() - timedelta(days=2)


# Some 15 s: how much room there is is looked at every 3 s, and told in sessions as often.
async def test_status_tells_what_clients_are_told_while_the_queue_is_nearly_full(
    server: NatsServer, run: Run
) -> None:
    """An ingress process that has begun to refuse goes on until less than 75 % is used."""

    async def told(said: str) -> None:
        async with asyncio.timeout(patient(30)):
            while not (await run("status"))[1].startswith(f"queue: {said}; ready"):
                await asyncio.sleep(0.2)

    async def used(share: float) -> None:
        await outside.publish("$KV.cluster.capacity", str(int(stored / share)).encode())

    def options(process: str) -> SpoolOptions:
        return SpoolOptions((server.url,), role="ingress", process=process)

    full = "refusing mail: the queue's storage is nearly full"
    await told("refusing mail: no ingress process is alive")
    outside = await nats.connect(server.url)
    one = await connect(options("ingress-0"))
    for _ in range(4):  # much beside what the processes say to the servers
        await put(one, "a@one.example", content=bytes(1_000_000))
    await told("accepting mail")
    stored = (await outside.jetstream().account_info()).storage or 0
    await used(0.9)
    await told(full)
    assert not one.accepting
    await used(0.77)
    other = await connect(options("ingress-1"))
    await told(f"{full}, say 1 of 2 ingress processes")
    assert (one.accepting, other.accepting) == (False, True)
    await used(0.5)
    await told("accepting mail")
    for each in (one, other, outside):
        await each.close()


async def test_a_history_without_events_says_where_it_looked(
    spool: JetStreamSpool, run: Run
) -> None:
    assert (await run("events"))[1] == ("No events in the last 60m (--since looks further back).\n")
    _, out, _ = await run("events", "--type", "bounce", "--since", "3d")
    assert out == "No events of type bounced in the last 3d (--since looks further back).\n"
    assert (await run("events", "--json"))[1] == ""


# ---------------------------------------------------------------- which mail is meant


async def test_a_clients_name_without_its_namespace_means_the_only_one(
    spool: JetStreamSpool, run: Run
) -> None:
    queue_id = await put(spool, "a@one.example", client="shop/news")
    await put(spool, "a@one.example", client="shop/other")
    _, out, _ = await run("queue", "list", "--client", "news", "--json")
    assert [row["queue_id"] for row in rows(out)] == [queue_id]
    await put(spool, "a@one.example", client="blog/news")
    code, out, err = await run("queue", "list", "--client", "news")
    assert (code, out) == (2, "")
    assert err == (
        "postroad: --client takes NAMESPACE/NAME: the queue has mail of blog/news and shop/news\n"
    )


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("--client", "a/b/c", "--client takes NAMESPACE/NAME, not 'a/b/c'"),
        ("--client", "", "--client takes NAMESPACE/NAME, not ''"),
        ("--from", "bob", "--from: 'bob' is not a mail address"),
        ("--to", "Bob <bob@x.example>", "--to: 'Bob <bob@x.example>' is not a mail address"),
        ("--to", "", "--to: '' is not a mail address"),
        ("--domain", "", "--domain: '' is not a mail domain"),
        ("--id", "42", "--id takes a queue id"),
        ("--id", "Z" * 26, "--id takes a queue id"),
    ],
)
async def test_a_filter_that_cannot_fit_is_an_error(
    run: Run, flag: str, value: str, complaint: str
) -> None:
    code, out, err = await run("queue", "hold", flag, value)
    assert (code, out) == (2, "")
    assert err.startswith(f"postroad: {complaint}")


async def test_show_names_its_argument_when_it_cannot_be_a_queue_id(run: Run) -> None:
    code, _, err = await run("queue", "show", "42")
    assert code == 2
    assert err.startswith("postroad: QUEUE-ID takes a queue id")


async def test_an_id_with_a_wrong_letter_is_of_no_message(spool: JetStreamSpool, run: Run) -> None:
    """Its letters say which stream it would be in; there are fewer streams than they can say."""
    queue_id = new_queue_id(now(), 217)
    code, _, err = await run("queue", "show", queue_id)
    assert code == 1
    assert err.startswith(f"postroad: no message {queue_id} waits in the queue;")
    code, out, _ = await run("queue", "list", "--id", queue_id, "--json")
    assert (code, out) == (0, "")


@pytest.mark.parametrize("queue_id", ["Z" * 26, "7" + "Z" * 25])
async def test_events_of_what_is_no_queue_id_are_refused(run: Run, queue_id: str) -> None:
    code, _, err = await run("events", "--id", queue_id)
    assert code == 2
    assert err.startswith("postroad: --id takes a queue id")


async def test_a_hint_names_the_cluster_as_the_command_did(
    server: NatsServer, run: Run, tmp_path: Path
) -> None:
    queue_id = new_queue_id(now(), 1)
    with noted_up(tmp_path / "a state", server.url) as state:
        of = ("--state", str(state))
        _, _, err = await run("queue", "show", queue_id, *of)
        assert f"`postroad events --id {queue_id} --state '{state}'` tells" in err
        _, _, err = await run("queue", "cancel", "nothing", *of)
        assert f"`postroad queue orders --state '{state}'` lists them" in err
        _, _, err = await run("queue", "resume", "--all", *of)
        assert f"`postroad queue orders --state '{state}'` lists the orders" in err
        _, out, _ = await run("queue", "suspend", "--domain", "one.example", *of)
        assert f"`postroad queue resume --domain one.example --state '{state}'` ends it" in out
    assert "queue orders` lists" in (await run("queue", "cancel", "nothing"))[2]


async def test_addresses_fit_however_their_domain_is_written(
    spool: JetStreamSpool, run: Run
) -> None:
    queue_id = await put(spool, "Bob@one.example")
    for flag, address in (("--to", "bOB@One.Example."), ("--from", "A@X.example")):
        _, out, _ = await run("queue", "list", flag, address, "--json")
        assert [row["queue_id"] for row in rows(out)] == [queue_id]


async def test_addresses_fit_however_their_local_part_is_quoted(
    spool: JetStreamSpool, run: Run
) -> None:
    written = ("bob", "Bob", '"bob"', r'"b\ob"')
    stored = {await put(spool, f"{each}@one.example") for each in written}
    for each in written:
        _, out, _ = await run("queue", "list", "--to", f"{each}@one.example", "--json")
        assert {row["queue_id"] for row in rows(out)} == stored


async def test_a_listing_shows_who_was_asked_for_before_others(
    spool: JetStreamSpool, run: Run
) -> None:
    await put_for(spool, *(f"{who}@one.example" for who in "abcdef"))
    _, out, _ = await run("queue", "list", "--to", "e@one.example", "-o", "wide")
    assert "e@one.example, a@one.example, b@one.example and 3 more" in out
