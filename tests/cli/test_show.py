"""`queue show` on a real queue: why a message is where it is, with times as other commands say."""

import re
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.interface import Deferred, Held
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import ADMIN, Hold, LastReply, Origin, QueuedRecipient
from postroad.testing.queue.queued_mail import now, put
from postroad_harness.waiting_mail import HOUR, Run, rows

pytestmark = pytest.mark.nats

DAY = timedelta(days=1)
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"


async def shown(run: Run, queue_id: str) -> dict[str, str]:
    """Return the table of a message's fields."""
    code, out, err = await run("queue", "show", queue_id)
    assert code == 0, err
    title, *lines = out.splitlines()
    assert title.split() == ["FIELD", "VALUE"]
    return {name: value.strip() for name, _, value in (line.partition("  ") for line in lines)}


async def test_a_message_that_waits_is_shown_with_its_last_reply_and_its_times(
    spool: JetStreamSpool, run: Run
) -> None:
    reply = LastReply("451 4.3.0 come back later", now() - timedelta(minutes=3))
    queue_id = await put(
        spool,
        place=Deferred(now() + HOUR),
        arrival=now() - timedelta(minutes=5),
        deadline=now() + 5 * DAY + HOUR,
        origin=Origin(client="shop/till", peer="192.0.2.7"),
        recipients=(QueuedRecipient(parse_mailbox("b@y.example"), last=reply),),
        attempts=2,
    )
    facts = await shown(run, queue_id)
    assert facts["state"] == "deferred"
    assert facts["to pending"] == "b@y.example: 451 4.3.0 come back later (3m ago)"
    assert (facts["from"], facts["client"], facts["tries"]) == ("a@x.example", "shop/till", "2")
    assert re.fullmatch(rf"{STAMP} \(in 59m\)", facts["next try"])
    assert re.fullmatch(rf"{STAMP} \(5m ago\) from 192\.0\.2\.7", facts["received"])
    assert re.fullmatch(rf"{STAMP} \(in 5d\)", facts["gives up"])


@pytest.mark.parametrize(
    ("hold", "why"),
    [(Hold(ADMIN, note="ticket 5"), "by order: ticket 5"), (Hold("Poison"), "Poison")],
)
async def test_a_message_that_is_held_is_shown_with_the_reason_and_what_ends_it(
    spool: JetStreamSpool, run: Run, hold: Hold, why: str
) -> None:
    queue_id = await put(spool, place=Held(now() + 20 * DAY), hold=hold)
    facts = await shown(run, queue_id)
    assert (facts["state"], facts["held"]) == ("held", why)
    assert re.fullmatch(rf"release {STAMP} \(in 19d\)", facts["hold ends"])
    assert "next try" not in facts


async def test_json_says_of_a_message_what_the_listing_does(
    spool: JetStreamSpool, run: Run
) -> None:
    hold = Hold(ADMIN, note="ticket 5")
    queue_id = await put(spool, place=Held(now() + 20 * DAY), hold=hold)
    _, listed, _ = await run("queue", "list", "--json")
    _, out, _ = await run("queue", "show", queue_id, "--json")
    assert rows(out) == rows(listed)
    assert rows(out)[0]["hold_note"] == "ticket 5"


async def test_content_is_shown_as_it_came_and_steers_no_terminal(
    spool: JetStreamSpool, run: Run
) -> None:
    content = b"Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\nred: \x1b[31m\r\n"
    _, out, _ = await run("queue", "show", await put(spool, content=content), "--content")
    assert out == "Subject: grüße\n\nred: \\x1b[31m\n"
