"""The log line of each recipient: delivered, deferred or bounced, with all its fields."""

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.policy.model import EgressPath, RetrySchedule, Smarthost, TlsMode
from postroad.spool.event import Event, EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad.testing.queue.queued_mail import now

LATER = RetrySchedule(first=timedelta(hours=1))


async def attempted(
    reply: bytes, kind: EventType, retry: RetrySchedule = LATER, **more: object
) -> tuple[list[dict[str, Any]], Event, int]:
    """Send to a host that answers RCPT so; return the lines, the event and the host's port."""

    def script(line: bytes, _: int) -> bytes | None:
        return reply if reply and line.startswith(b"RCPT") else None

    spool = MemorySpool()
    with capture_logs() as lines:
        async with ScriptedMx(script) as mx:
            hosts = (Smarthost("127.0.0.1", mx.port),)
            egress_path = EgressPath("relay:shop/out", hosts, tls=TlsMode.NONE, retry=retry)
            await publish(spool, anywhere=egress_path)
            async with delivering(spool):
                await send(spool, "b@y.example", **more)
                [event] = await history(spool, kind)
            port = mx.port
    return [dict(line) for line in lines if line.get("to")], event, port


@pytest.mark.parametrize(
    ("word", "reply", "kind", "dsn"),
    [
        ("delivered", b"", EventType.DELIVERY, "2.0.0"),
        ("deferred", b"451 4.7.1 later\r\n", EventType.TRANSIENT_FAILURE, "4.7.1"),
        ("bounced", b"550 5.1.1 no such user\r\n", EventType.BOUNCE, "5.1.1"),
    ],
)
async def test_a_line_for_each_recipient(
    word: str, reply: bytes, kind: EventType, dsn: str
) -> None:
    lines, event, port = await attempted(reply, kind)
    line = next(line for line in lines if line["to"] == "b@y.example")
    assert line["event"] == word
    assert line["dsn"] == dsn
    assert line["reply"] == event.reply
    assert line["queue_id"] == event.queue_id
    assert line["relay"] == f"127.0.0.1[127.0.0.1]:{port}"
    assert line["relay_object"] == event.relay == "shop/out"
    assert (line["from"], line["size"], line["attempt"]) == (event.reverse_path, event.size, 1)
    assert 0 <= line["delay"] < 60
    assert 0 <= event.delay < 60


async def test_what_expires_is_a_line_of_its_own() -> None:
    soon = now() + timedelta(seconds=1)
    lines, event, _ = await attempted(b"451 4.7.1 later\r\n", EventType.EXPIRATION, deadline=soon)
    own = [line for line in lines if line["to"] == "b@y.example"]
    told = [(line["event"], line.get("reason"), line["dsn"]) for line in own]
    assert told[-1] == ("bounced", "expired", "4.7.1")
    assert set(told[:-1]) == {("deferred", None, "4.7.1")}
    assert event.reason == "expired"


async def test_a_bounce_names_the_notification() -> None:
    lines, event, _ = await attempted(b"550 5.1.1 no such user\r\n", EventType.BOUNCE)
    [notified] = [line for line in lines if line["event"] == "notified"]
    assert notified["queue_id"] == event.queue_id != notified["notification"]
    assert notified["to"] == event.reverse_path


async def test_mail_without_a_way_out_is_told_as_deferred() -> None:
    spool = MemorySpool()
    with capture_logs() as lines:
        await publish(spool, other_example=EgressPath("relay:shop/other"))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [event] = await history(spool, EventType.TRANSIENT_FAILURE)
    [line] = [line for line in lines if line["event"] == "deferred"]
    assert (line["to"], line["reply"]) == ("b@y.example", event.reply)


async def test_a_delayed_message_is_told_once_for_each_try_and_its_warning_is_named() -> None:
    warned = RetrySchedule(first=timedelta(hours=1), delay_warning=timedelta(0))
    lines, event, _ = await attempted(
        b"451 4.7.1 later\r\n", EventType.TRANSIENT_FAILURE, retry=warned
    )
    assert [line["event"] for line in lines if line["to"] == "b@y.example"] == ["deferred"]
    [notified] = [line for line in lines if line["event"] == "notified"]
    assert notified["to"] == event.reverse_path
