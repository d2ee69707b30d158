"""Where a message came from reads the same in its Received field, its record and the history."""

import email

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.spool.event import EventType
from postroad.testing.peers.smtp_peer import client_context
from postroad.testing.processes.ingress import Scene

CONTENT = b"Subject: hello\r\n\r\nbody\r\n"


@pytest.mark.parametrize("kind", [ListenerKind.RELAY, ListenerKind.SUBMISSIONS])
async def test_all_that_is_stored_of_a_client_agrees(scene: Scene, kind: ListenerKind) -> None:
    """Also when it has begun in clear, under another name."""
    peer = await scene.peer(kind)
    if kind is ListenerKind.RELAY:
        await peer.say("EHLO another.example")
        await peer.say("STARTTLS")
        await peer.start_tls(client_context())
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(CONTENT)).startswith("250 ")
    assert (await peer.say("RCPT TO:<you@far.example>")).startswith("503 ")

    tls = peer.writer.get_extra_info("ssl_object").cipher()
    [record] = scene.records
    field = " ".join(email.message_from_bytes(record.trace)["Received"].split())
    assert field.startswith(f"from client.example ([127.0.0.1]) by {scene.server.tools.hostname} ")
    assert f" with ESMTPS ({tls[1]} {tls[0]}) id {record.record_id.queue_id} " in field
    origin = record.origin
    assert (origin.peer, origin.helo, origin.protocol) == ("127.0.0.1", "client.example", "ESMTPS")
    assert (origin.client, origin.namespace) == ("default/network", "default")
    events = [event async for event in scene.spool.events.read()]
    assert [event.type for event in events] == [EventType.RECEPTION, EventType.REJECTION]
    for event in events:
        assert (event.peer_address, event.helo) == ("127.0.0.1", "client.example")
        assert event.tls == f"{tls[1]} {tls[0]}"
    assert events[0].client == "default/network"
