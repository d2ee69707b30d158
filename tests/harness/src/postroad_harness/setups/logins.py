"""Clients that log in and guess, for tests of passwords over the wire."""

import base64

from postroad.acceptance.admission import ListenerKind
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.ingress import Scene

HERE, THERE = "192.0.2.1", "198.51.100.9"


async def session_of(scene: Scene, client: str) -> SmtpPeer:
    """Open a session from a client's address, as far as AUTH."""
    peer = await scene.peer_from(client, ListenerKind.SUBMISSION)
    await peer.say("EHLO client.example")
    await peer.say("STARTTLS")
    await peer.start_tls(client_context())
    await peer.say("EHLO client.example")
    return peer


async def prove(peer: SmtpPeer, username: str, password: str) -> str:
    """Say who one is; return the reply."""
    response = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
    return await peer.say(f"AUTH PLAIN {response}")


async def log_in(scene: Scene, client: str, username: str, password: str) -> str:
    """Log in from a client's address, in a session of its own; return the reply."""
    return await prove(await session_of(scene, client), username, password)


async def guess(scene: Scene, client: str, username: str, times: int) -> list[str]:
    return [(await log_in(scene, client, username, f"wrong {n}"))[:3] for n in range(times)]
