"""The queue's commands on a real queue: what they list, order, and ask first."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import nats
import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.agreement import Order
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Held, Place, Put, Ready, Scheduled
from postroad.spool.jetstream.spool import JetStreamSpool, SpoolOptions, connect, provision
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import Hold, Origin, QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.nats_server import NatsServer
from postroad.testing.patience import patient
from postroad.testing.queued_mail import SECOND, now, record

pytestmark = pytest.mark.nats

HOUR = timedelta(hours=1)
Said = tuple[int, str, str]
Run = Callable[..., Awaitable[Said]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        await provision(SpoolOptions((running.url,), role="operator"), layout=SINGLE_MACHINE)
        yield running


@pytest.fixture
async def spool(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    """The queue as a process of the cluster has it open."""
    opened = await connect(SpoolOptions((server.url,), role="delivery", process="tests"))
    yield opened
    await opened.close()


@pytest.fixture
def run(server: NatsServer) -> Run:
    """Give a function that runs a command to its end; it answers with code, output, complaints."""

    async def run_one(*words: str, stdin: int = asyncio.subprocess.DEVNULL, **more: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.cli", *words),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "POSTROAD_NATS_URL": server.url, "COLUMNS": "200", **more},
        )
        out, err = await asyncio.wait_for(process.communicate(), patient(30))
        return process.returncode or 0, out.decode(), err.decode()

    return run_one


async def put(
    spool: JetStreamSpool,
    *to: str,
    place: Place | None = None,
    age: timedelta = timedelta(0),
    client: str | None = None,
    hold: Hold | None = None,
    content: bytes = b"Subject: hi\r\n\r\nbody\r\n",
) -> str:
    arrival = now() - age
    place = place or Scheduled(now() + HOUR)

    def compose(queue_id: str) -> list[Put]:
        origin = Origin(client=client)
        more = {"arrival": arrival, "origin": origin, "hold": hold, "content": content}
        return [
            Put(record(queue_id, address, number, **more), place)
            for number, address in enumerate(to)
        ]

    stored = await spool.accept(
        new_queue_id(arrival, len(to) % 4), compose, timeout=timedelta(seconds=5)
    )
    return stored.queue_id


async def obeyed(spool: JetStreamSpool, running: Awaitable[Said]) -> tuple[Order, Said]:
    """Play delivery: tell of one order that two records were changed; return it, and what came."""
    command = asyncio.ensure_future(running)
    async with asyncio.timeout(patient(30)):
        await spool.orders.changed()
        [order] = spool.orders.in_force(now())
        await spool.orders.report(order.order_id, "tests", 2)
        return order, await command


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


# ---------------------------------------------------------------- looking


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


async def test_a_hint_names_the_cluster_as_the_command_did(
    server: NatsServer, run: Run, tmp_path: Path
) -> None:
    state = tmp_path / "a state"
    state.mkdir()
    (state / "access.json").write_text(json.dumps({"url": server.url, "token": "any"}))
    queue_id = new_queue_id(now(), 1)
    _, _, err = await run("queue", "show", queue_id, "--state", str(state))
    assert f"`postroad events --id {queue_id} --state '{state}'` tells" in err
    _, _, err = await run("queue", "cancel", "nothing", "--state", str(state))
    assert f"`postroad queue orders --state '{state}'` lists them" in err
    _, _, err = await run("queue", "resume", "--all", "--state", str(state))
    assert f"`postroad queue orders --state '{state}'` lists the orders" in err
    words = ("queue", "suspend", "--domain", "one.example", "--state", str(state))
    _, out, _ = await run(*words)
    assert f"`postroad queue resume --domain one.example --state '{state}'` ends it" in out
    assert "queue orders` lists" in (await run("queue", "cancel", "nothing"))[2]


async def test_addresses_fit_however_their_domain_is_written(
    spool: JetStreamSpool, run: Run
) -> None:
    queue_id = await put(spool, "Bob@one.example")
    for flag, address in (("--to", "bOB@One.Example."), ("--from", "A@X.example")):
        _, out, _ = await run("queue", "list", flag, address, "--json")
        assert [row["queue_id"] for row in rows(out)] == [queue_id]


async def put_for(spool: JetStreamSpool, *to: str) -> str:
    """Put one message for recipients of one domain: one record."""
    recipients = tuple(QueuedRecipient(parse_mailbox(each)) for each in to)

    def compose(queue_id: str) -> list[Put]:
        queued = record(queue_id, to[0], recipients=recipients)
        return [Put(queued, Scheduled(now() + HOUR))]

    return (await spool.accept(new_queue_id(now(), 1), compose, timeout=5 * SECOND)).queue_id


async def test_a_listing_shows_who_was_asked_for_before_others(
    spool: JetStreamSpool, run: Run
) -> None:
    await put_for(spool, *(f"{who}@one.example" for who in "abcdef"))
    _, out, _ = await run("queue", "list", "--to", "e@one.example", "-o", "wide")
    assert "e@one.example, a@one.example, b@one.example and 3 more" in out


# ---------------------------------------------------------------- ordering


@pytest.mark.parametrize(
    ("action", "would", "others"),
    [
        ("delete", "1 recipient of 1 message", "Not ended: 2 other recipients"),
        ("bounce", "1 recipient of 1 message", "Not ended: 2 other recipients"),
        ("hold", "1 message", "Meant too: 2 other recipients"),
        ("retry", "1 message", "Meant too: 2 other recipients"),
    ],
)
async def test_an_order_for_one_recipient_says_what_it_means_for_the_others(
    spool: JetStreamSpool, run: Run, action: str, would: str, others: str
) -> None:
    await put_for(spool, "a@one.example", "b@one.example", "c@one.example")
    words = ("queue", action, "--to", "b@one.example")
    _, out, err = await run(*words, "--dry-run")
    assert out.endswith(f"{action} would change {would}; nothing was changed.\n")
    assert err == f"{others} of the same mail at the same domain.\n"
    _, out, _ = await run(*words, "--dry-run", "--json")
    [told] = rows(out)
    assert (told["messages"], told["recipients"], told["other_recipients"]) == (1, 1, 2)
    order, (_, _, err) = await obeyed(spool, run(*words, "--yes"))
    assert order.selection.recipient == "b@one.example"
    assert err == f"{others} of the same mail at the same domain.\n"


async def test_nothing_is_ordered_when_nothing_fits(spool: JetStreamSpool, run: Run) -> None:
    await put(spool, "a@one.example")
    code, out, _ = await run("queue", "release", "--client", "news")
    assert (code, out) == (0, "No message fits; nothing was changed.\n")
    code, out, _ = await run("queue", "orders")
    assert (code, out) == (0, "No order is in force.\n")


async def test_a_release_says_what_stays_suspended(spool: JetStreamSpool, run: Run) -> None:
    for address in ("a@one.example", "b@two.example"):
        await put(spool, address, place=Held(now() + HOUR))
    await run("queue", "suspend", "--domain", "two.example")
    await in_force(spool, "suspend")
    said = (
        "Suspended: 1 of them, deferred until `postroad queue resume`; `postroad queue retry` sends"
        " them now.\n"
    )
    _, _, err = await run("queue", "release", "--all", "--dry-run")
    assert err == said
    command = asyncio.ensure_future(run("queue", "release", "--all", "--yes"))
    [_, order] = await in_force(spool, "suspend", "release")
    await spool.orders.report(order.order_id, "tests", 2)
    _, out, err = await command
    assert (out, err) == ("release: 2 of 2 records changed.\n", said)


async def test_an_order_shows_what_it_means_and_can_be_cancelled(
    spool: JetStreamSpool, run: Run
) -> None:
    await put(spool, "a@one.example", "b@two.example", client="shop/news")
    order, (code, out, err) = await obeyed(
        spool, run("queue", "hold", "--client", "news", "--reason", "ticket 5")
    )
    assert (code, out, err) == (0, "hold: 2 of 2 records changed.\n", "")
    assert order.selection.client == "shop/news"
    _, out, _ = await run("queue", "orders")
    [line] = [line for line in out.splitlines() if order.order_id[:8] in line]
    assert line.split()[1:5] == ["hold", "--client", "shop/news", "2"]
    assert line.rstrip().endswith("in 59m  ticket 5")
    assert "--client shop/news" in (await run("status"))[1]
    _, out, _ = await run("queue", "orders", "--json")
    [told] = rows(out)
    assert (told["order_id"], told["mail"], told["reason"], told["affected"]) == (
        order.order_id,
        "--client shop/news",
        "ticket 5",
        2,
    )
    code, out, _ = await run("queue", "cancel", order.order_id[:6])
    assert (code, out) == (
        0,
        "Cancelled: hold --client shop/news. What it has changed already stays as it is.\n",
    )
    async with asyncio.timeout(patient(10)):
        await spool.orders.changed()
    assert list(spool.orders.in_force(now())) == []
    code, _, err = await run("queue", "cancel", order.order_id[:6])
    assert code == 1
    assert "is in force" in err


async def in_force(spool: JetStreamSpool, *actions: str) -> list[Order]:
    """Return the orders in force as soon as they are these."""
    async with asyncio.timeout(patient(10)):
        while [each.action for each in spool.orders.in_force(now())] != list(actions):
            await spool.orders.changed()
    return list(spool.orders.in_force(now()))


@pytest.mark.parametrize("way", ["resume", "cancel"])
async def test_a_suspension_is_for_later_mail_too_and_its_end_tries_what_waits(
    spool: JetStreamSpool, run: Run, way: str
) -> None:
    words = ("--domain", "Example.NET")
    code, out, err = await run("queue", "suspend", *words, "--for", "2h", "--reason", "ticket 5")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"Suspended: --domain example\.net, until [\d-]{10} [\d:.]{12} \(in 2h\);"
        r" `postroad queue resume --domain example\.net` ends it\.\n",
        out,
    )
    [order] = await in_force(spool, "suspend")
    assert (order.cutoff, order.reason) == (None, "ticket 5")
    assert order.until - order.placed == timedelta(hours=2)
    await run("queue", "suspend", *words, "--for", "3h")
    async with asyncio.timeout(patient(10)):
        while (ids := [o.order_id for o in await in_force(spool, "suspend")]) == [order.order_id]:
            await spool.orders.changed()
    _, out, _ = await run("queue", way, *(words if way == "resume" else ids))
    assert re.search(r" --domain example\.net[;.] [Ww]hat waits is tried now\.\n", out)
    [retry] = await in_force(spool, "retry")
    assert retry.selection.domain == "example.net"


async def test_what_is_suspended_otherwise_stays_so_when_a_suspension_ends(
    spool: JetStreamSpool, run: Run
) -> None:
    await run("queue", "suspend", "--all")
    await run("queue", "suspend", "--domain", "example.net")
    await run("queue", "resume", "--domain", "example.net")
    _, standing = await in_force(spool, "retry", "suspend")
    assert standing.selection == Selection(kinds=frozenset({WaitKind.READY}))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["suspend"], 2, "say which mail: --id, --domain, --from, --to, --client, or --all"),
        (["suspend", "--all", "--domain", "a.example"], 2, "--all means all mail"),
        (["suspend", "--client", "news"], 2, "--client takes NAMESPACE/NAME here, not 'news'"),
        (["suspend", "--all", "--for", "31d"], 2, "--for takes a duration such as"),
        (["suspend", "--all", "--for", "0"], 2, "15m or 2d, 30d at most, not '0'"),
        (["suspend", "--all", "--for", "5"], 2, "30d at most, not '5'"),
        (["resume", "--domain", "a.example"], 1, "nothing is suspended by --domain a.example"),
        (["resume", "--all"], 1, "nothing is suspended; `postroad queue orders`"),
    ],
    ids=str,
)
async def test_a_suspension_that_cannot_be_meant_is_an_error(
    run: Run, words: list[str], code: int, said: str
) -> None:
    exit_code, out, err = await run("queue", *words)
    assert (exit_code, out) == (code, "")
    assert said in err


@pytest.mark.parametrize("action", ["bounce", "delete"])
async def test_what_cannot_be_undone_needs_a_yes(
    spool: JetStreamSpool, run: Run, action: str
) -> None:
    await put(spool, "a@one.example", "b@two.example")
    code, out, err = await run("queue", action, "--all")
    assert (code, out) == (2, "")
    assert err == (
        f"postroad: `queue {action}` cannot be undone, and there is no terminal to ask at:"
        " say --yes, or see what fits with --dry-run\n"
    )
    code, out, _ = await run("queue", action, "--all", "--dry-run", "--json")
    assert rows(out) == [
        {
            "action": action,
            "matching": 2,
            "messages": 1,
            "recipients": 2,
            "other_recipients": 0,
            "affected": 0,
            "domains": {"one.example": 1, "two.example": 1},
        }
    ]
    assert list(spool.orders.in_force(now())) == []
    order, (code, out, _) = await obeyed(spool, run("queue", action, "--all", "--yes"))
    assert (code, out) == (0, f"{action}: 2 of 2 records changed.\n")
    assert order.action == action


async def test_ctrl_c_at_the_question_changes_nothing(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    await put(spool, "a@one.example")
    keyboard, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-Im", "postroad.cli", "queue", "bounce", "--all"),
        stdin=terminal,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "POSTROAD_NATS_URL": server.url},
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(patient(30)):
            await process.stderr.readuntil(b"[y/N]:")
            process.send_signal(signal.SIGINT)
            assert await process.wait() != 0
    finally:
        if process.returncode is None:
            process.kill()
        os.close(keyboard)
        os.close(terminal)
    assert list(spool.orders.in_force(now())) == []


async def test_at_a_terminal_the_count_is_shown_and_no_is_the_answer_to_nothing(
    spool: JetStreamSpool, run: Run
) -> None:
    await put(spool, "a@one.example", "b@two.example")
    keyboard, terminal = os.openpty()
    try:
        os.write(keyboard, b"\n")
        code, out, err = await run("queue", "bounce", "--all", stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert "one.example  1" in out
    assert "bounce 1 message (2 records, one for each domain)? (the senders are notified)" in err
    assert code == 1
    assert err.endswith("postroad: nothing was changed\n")
    assert list(spool.orders.in_force(now())) == []
