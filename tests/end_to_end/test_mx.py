"""From SMTP through JetStream to MX hosts in a DNS zone of the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone, ZoneFault
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.relay import RunningRelay
from postroad_harness.source import Source

pytestmark = pytest.mark.nats

StartRelay = Callable[..., Awaitable[RunningRelay]]

MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: direct}
spec:
  destinations: ["*"]
  mx: {}
  retry: {first: 1s, factor: 1.5, max: 2s, lifetime: 1h, delayWarning: 30m}
"""
HERE = ["A 127.0.0.1"]


async def events_of(relay: RunningRelay, queue_id: str, wanted: str) -> list[dict[str, object]]:
    """Return a message's history once an event of the wanted type is in it."""
    async with asyncio.timeout(patient(25)):
        while True:
            _, out, _ = await relay.command("events", "--id", queue_id, "--json")
            found = [json.loads(line) for line in out.splitlines()]
            if any(event["type"] == wanted for event in found):
                return found


async def send(relay: RunningRelay, *to: str) -> str:
    words = [word for address in to for word in ("--to", address)]
    server = relay.addresses["relay"]
    code, out, err = await relay.command(
        "send", "--server", server, "--from", "shop@near.example", *words, "--json"
    )
    assert code == 0, err
    return str(json.loads(out)["queue_id"])


async def start(
    start_relay: StartRelay, mx: ScriptedMx, zone: Zone, **environment: str
) -> RunningRelay:
    host, port = zone.address
    return await start_relay(
        MANIFESTS,
        "--resolver",
        f"{host}:{port}",
        POSTROAD_SMTP_PORT=str(mx.port),
        POSTROAD_ALLOW_PRIVATE_MX="1",
        **environment,
    )


@asynccontextmanager
async def connected(relay: RunningRelay, listener: str) -> AsyncIterator[tuple[SmtpPeer, str]]:
    """Give a session with the relay, and its greeting."""
    peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", relay.port(listener)))
    try:
        yield peer, await peer.reply()
    finally:
        peer.writer.close()


async def test_mail_finds_the_mx_host_and_arrives_as_it_was_sent(start_relay: StartRelay) -> None:
    table = {"far.example": ["MX 10 mx.far.example"], "mx.far.example": HERE}
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        queue_id = await send(relay, "you@far.example", "me@far.example")
        [message] = await asyncio.wait_for(mx.received(1), patient(20))
        assert message.mail.startswith(b"MAIL FROM:<shop@near.example> SIZE=")
        assert message.recipients == [b"RCPT TO:<you@far.example>", b"RCPT TO:<me@far.example>"]
        assert f"id {queue_id}".encode() in message.content
        assert b"Subject: Hello\r\n" in message.content
        await events_of(relay, queue_id, "Delivery")


async def test_a_refused_recipient_comes_back_as_a_notification(start_relay: StartRelay) -> None:
    table = {
        "far.example": ["MX 10 mx.far.example"],
        "near.example": ["MX 10 mx.far.example"],
        "mx.far.example": HERE,
    }

    def refuse(line: bytes, count: int) -> bytes | None:
        return b"550 5.1.1 nobody here\r\n" if b"nobody@" in line else None

    async with ScriptedMx(refuse) as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        queue_id = await send(relay, "nobody@far.example")
        [report] = await asyncio.wait_for(mx.received(1), patient(20))
        assert report.mail.startswith(b"MAIL FROM:<>")
        assert report.recipients == [b"RCPT TO:<shop@near.example>"]
        assert b"multipart/report; report-type=delivery-status" in report.content
        assert b"Final-Recipient: rfc822; nobody@far.example\r\n" in report.content
        assert b"Status: 5.1.1\r\n" in report.content
        assert b"Diagnostic-Code: smtp; 550 5.1.1 nobody here\r\n" in report.content
        history = await events_of(relay, queue_id, "Bounce")
        assert "550 5.1.1 nobody here" in str(history[-1]["reply"])


async def test_deferred_mail_is_tried_again_until_it_is_taken(start_relay: StartRelay) -> None:
    table = {"far.example": ["MX 10 mx.far.example"], "mx.far.example": HERE}

    def defer_twice(line: bytes, count: int) -> bytes | None:
        return b"451 4.7.1 greylisted\r\n" if line.startswith(b"RCPT") and count < 2 else None

    async with ScriptedMx(defer_twice) as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        queue_id = await send(relay, "you@far.example")
        await asyncio.wait_for(mx.received(1), patient(20))
        history = await events_of(relay, queue_id, "Delivery")
        # Its first look at the DNS may have moved it to its site's lane.
        assert [event["type"] for event in history if event["type"] != "Moved"] == [
            "Reception",
            "TransientFailure",
            "TransientFailure",
            "Delivery",
        ]
        assert history[-1]["attempt"] == 3


async def test_a_host_that_is_away_gives_way_to_the_next(start_relay: StartRelay) -> None:
    table = {
        "far.example": ["MX 10 away.far.example", "MX 20 mx.far.example"],
        "away.far.example": ["A 127.0.0.2"],
        "mx.far.example": HERE,
    }
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        await send(relay, "you@far.example")
        assert len(await asyncio.wait_for(mx.received(1), patient(20))) == 1


@pytest.mark.parametrize(
    ("domain", "kind", "says"),
    [
        ("null.example", "Bounce", "null MX"),
        ("gone.example", "Bounce", "does not exist"),
        ("broken.example", "TransientFailure", "DNS"),
    ],
)
async def test_what_the_dns_says_decides(
    start_relay: StartRelay, domain: str, kind: str, says: str
) -> None:
    table: Table = {
        "null.example": ["MX 0 ."],
        "broken.example": ZoneFault.SERVFAIL,
        "near.example": ["MX 10 mx.far.example"],
        "mx.far.example": HERE,
    }
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        queue_id = await send(relay, f"you@{domain}")
        history = await events_of(relay, queue_id, kind)
        assert says in str(history[1]["reply"])


async def test_a_private_mx_host_is_not_talked_to_unless_allowed(start_relay: StartRelay) -> None:
    table = {"far.example": ["MX 10 mx.far.example"], "mx.far.example": HERE}
    async with ScriptedMx() as mx, Zone(table) as zone:
        host, port = zone.address
        relay = await start_relay(
            MANIFESTS, "--resolver", f"{host}:{port}", POSTROAD_SMTP_PORT=str(mx.port)
        )
        queue_id = await send(relay, "you@far.example")
        history = await events_of(relay, queue_id, "Bounce")
        assert "addresses that mail is not sent to" in str(history[1]["reply"])
        assert mx.connections == 0


async def test_mail_to_several_domains_reaches_each(start_relay: StartRelay) -> None:
    table = {
        **{f"d{n}.example": ["MX 10 mx.far.example"] for n in range(12)},
        "mx.far.example": HERE,
    }
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        source = Source(relay.port(), recipients=tuple(f"to@d{n}.example" for n in range(12)))
        await source.send(2)
        messages = await asyncio.wait_for(mx.received(24), patient(25))
        assert len({message.recipients[0] for message in messages}) == 12


async def test_a_relay_knows_itself_however_its_name_is_written(start_relay: StartRelay) -> None:
    """Else mail for a domain whose MX host it is would come back to it again and again."""
    table = {"far.example": ["MX 10 relay.far.example"], "relay.far.example": HERE}
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone, POSTROAD_HOSTNAME="Relay.Far.Example.")
        async with connected(relay, "relay") as (_, greeting):
            assert greeting.startswith("220 relay.far.example ")
        queue_id = await send(relay, "you@far.example")
        history = await events_of(relay, queue_id, "Bounce")
        assert "is this relay" in str(history[1]["reply"])
        assert mx.connections == 0


async def test_submitted_mail_may_have_lines_that_end_with_lf(start_relay: StartRelay) -> None:
    """As a program sends a file that it did not write for SMTP; between hosts it is refused."""
    table = {"far.example": ["MX 10 mx.far.example"], "mx.far.example": HERE}
    content = b"Subject: hi\n\nhello\n..dots\n\r\n"
    async with ScriptedMx() as mx, Zone(table) as zone:
        relay = await start(start_relay, mx, zone)
        for listener, reply in (("relay", "554 5.6.0 "), ("submission", "250 ")):
            async with connected(relay, listener) as (peer, _):
                await peer.envelope("shop@near.example", "you@far.example")
                assert (await peer.message(content)).startswith(reply)
        [message] = await asyncio.wait_for(mx.received(1), patient(20))
        assert message.content.endswith(b"\r\n\r\nhello\r\n.dots\r\n\r\n")
