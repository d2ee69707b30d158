"""Scenario 10: certificates are replaced without dropping a session or a message."""

import base64
import json
import re
import time
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.streams import hang_up
from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import until
from postroad_harness.cluster.report import settle
from postroad_harness.cluster.scene import SENDER, Scene

_END = re.compile(r"^postroad_operator_nats_certificate_end_seconds (\S+)$", re.MULTILINE)
_LIVES = timedelta(days=30)
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


async def test_mail_flows_while_the_servers_get_certificates_of_another_authority(
    steady: Scene,
) -> None:
    """Also when all of them start again, and every pod has to connect to them by the new ones."""
    release = steady.release
    async with steady.flow() as flow:
        await flow.reached(100)
        began = time.monotonic()
        end = await renew_servers_certificate(steady)

        async def is_seen() -> bool:
            pods = await release.ready_pods("operator")
            pages = [await release.page(pod, "metrics") for pod in pods]
            return any(float(found[1]) == end for page in pages if (found := _END.search(page)))

        await until("the servers' new certificate", is_seen, seconds=300, every=1)
        took = time.monotonic() - began
        for pod in await release.ready_pods("nats"):
            await release.delete_at_once(pod)
            await flow.more(100)
            await release.all_there()
        await settle("10b. NATS certificates of another authority", flow, shown_after=took)


async def renew_servers_certificate(scene: Scene) -> float:
    """Replace certificate and authority of the servers; return when the new one ends."""
    release = scene.release
    name = f"{release.name}-nats-tls"
    kept = (await kube.get("-n", release.namespace, "secret", name))["data"]
    before = base64.b64decode(kept["ca.crt"]).decode()
    host = f"*.{release.name}-nats-headless.{release.namespace}.svc"
    certificate, key = tls_pair("localhost", "new authority", also=(host,), ends_in=_LIVES)
    entries = {"ca.crt": certificate + before, "tls.crt": certificate, "tls.key": key}
    data = {each: base64.b64encode(text.encode()).decode() for each, text in entries.items()}
    await release.kubectl("patch", "secret", name, "-p", json.dumps({"data": data}))
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


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
