"""Scenario 10: the TLS certificate is replaced without dropping a session."""

import time

from cryptography import x509
from cryptography.x509.oid import NameOID

from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.streams import hang_up
from postroad_harness.cluster.kube import until
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import SENDER, Scene

SESSIONS = 6
IN_A_ROW = 8  # new sessions that show the new certificate, so that no pod shows the old one


async def test_sessions_live_on_while_the_certificate_changes(steady: Scene) -> None:
    await steady.show_certificate("old")
    await until("the old certificate", lambda: shown(steady, "old"), seconds=150, every=1)
    async with steady.flow() as flow:
        sessions = [await open_session(steady) for _ in range(SESSIONS)]
        began = time.monotonic()
        await steady.show_certificate("new")
        await until("the new certificate", lambda: shown(steady, "new"), seconds=150, every=1)
        took = time.monotonic() - began
        for session in sessions:
            assert organisation(session) == "old"
            replies = await session.envelope(SENDER, "to@far.example")
            assert [reply[:3] for reply in replies] == ["250", "250"]
            assert (await session.message()).startswith("250")
            await hang_up(session.writer)
        await settle("10. TLS certificate rotated under open sessions", flow, shown_after=took)


async def open_session(scene: Scene) -> SmtpPeer:
    """Open a session with STARTTLS."""
    assert scene.balancer is not None
    session = SmtpPeer(*await scene.balancer.connect())
    await session.reply()
    await session.say("EHLO outside.example")
    assert (await session.say("STARTTLS")).startswith("220")
    await session.start_tls(client_context())
    return session


def organisation(session: SmtpPeer) -> str:
    """Return what tells one certificate from another."""
    shown = session.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    names = x509.load_der_x509_certificate(shown).subject
    return str(names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


async def shown(scene: Scene, wanted: str) -> bool:
    """Say whether new sessions, one after the other, all show a certificate."""
    for _ in range(IN_A_ROW):
        session = await open_session(scene)
        found = organisation(session)
        await hang_up(session.writer)
        if found != wanted:
            return False
    return True
