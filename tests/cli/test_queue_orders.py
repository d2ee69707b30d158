"""Orders on a real queue: which mail they change, what they ask first, how they end."""

import asyncio
import os
import re
import signal
import sys
from datetime import timedelta

import nats
import pytest

from postroad.spool.interface import Deferred, Held
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now
from postroad_harness.waiting_mail import HOUR, Run, in_force, obeyed, put, put_for, rows

pytestmark = pytest.mark.nats


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


async def test_a_release_means_what_a_hold_has_not_reached_yet(
    spool: JetStreamSpool, run: Run
) -> None:
    await put(spool, "a@one.example", place=Deferred(now() + HOUR))
    await obeyed(spool, run("queue", "hold", "--all", "--yes"))
    code, out, _ = await run("queue", "release", "--all")
    assert (code, out) == (0, "release: 0 of 0 records changed.\n")
    await in_force(spool, "hold", "release")


async def test_a_release_of_a_client_without_mail_releases_no_other_mail(
    spool: JetStreamSpool, run: Run
) -> None:
    """While a hold is in force, and without its namespace, a Client is known by its mail alone."""
    await put(spool, "a@one.example", place=Deferred(now() + HOUR), client="shop/news")
    await obeyed(spool, run("queue", "hold", "--all", "--yes"))
    code, out, _ = await run("queue", "release", "--client", "other")
    assert (code, out) == (0, "No message fits; nothing was changed.\n")
    await in_force(spool, "hold")
    code, out, _ = await run("queue", "release", "--client", "news")
    assert (code, out) == (0, "release: 0 of 0 records changed.\n")
    _, release = await in_force(spool, "hold", "release")
    assert release.selection.client == "shop/news"


@pytest.mark.parametrize("as_json", [True, False])
async def test_no_more_are_told_to_have_changed_than_fit(
    spool: JetStreamSpool, run: Run, as_json: bool
) -> None:
    """Mail may come to wait, and so fit, after it was counted and before the order is given."""
    await put(spool, "a@one.example", place=Held(now() + HOUR))
    command = ("queue", "release", "--all", "--yes", *["--json"] * as_json)
    _, (_, out, err) = await obeyed(spool, run(*command))
    if as_json:
        [told] = rows(out)
        assert (told["matching"], told["affected"]) == (2, 2)
    else:
        assert (out, err) == ("release: 2 of 2 records changed.\n", "")


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


async def test_a_suspension_ends_in_any_spelling_of_its_address(
    spool: JetStreamSpool, run: Run
) -> None:
    await run("queue", "suspend", "--to", "bob@one.example")
    code, out, _ = await run("queue", "resume", "--to", '"Bob"@one.example')
    assert (code, out) == (0, "Resumed: --to bob@one.example; what waits is tried now.\n")


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
            **({"unreadable": 0} if action == "delete" else {}),
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


async def test_an_order_that_the_queue_has_no_room_for_says_so(
    spool: JetStreamSpool, run: Run, server: NatsServer
) -> None:
    await put(spool, "a@one.example")
    client = await nats.connect(server.url)
    for stream in ("KV_cluster", "KV_presence"):  # on disk, and in the server's memory
        info = await client.jetstream().stream_info(stream)
        await client.jetstream().update_stream(info.config.evolve(max_bytes=info.state.bytes + 1))
    await client.close()
    code, _, err = await run("queue", "hold", "--all", "--yes")
    assert code == 1
    assert "the queue has no room for it: KV_cluster takes no more" in err
    assert "Traceback" not in err
