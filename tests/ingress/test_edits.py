"""The configuration changes during a transaction: the newest one decides."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

CONTENT = b"Subject: hi\r\n\r\nhello\r\n.\r\n"
LOGIN = base64.b64encode(b"\0shop\0correct horse").decode()
_DOCUMENTS = MANIFESTS.split("---\n")


def without(name: str) -> str:
    """Return the manifests without the Client of this name."""
    return "---\n".join(
        document
        for document in _DOCUMENTS
        if not ("kind: Client" in document and f"{{name: {name}}}" in document)
    )


def quota(messages: int) -> str:
    """Return the manifests with a Quota."""
    return f"""{MANIFESTS}---
apiVersion: postroad.dev/v1alpha1
kind: Quota
metadata: {{name: each}}
spec:
  subject: {{sender: {{match: "*"}}}}
  limits: [{{messages: {messages}, per: 1d}}]
  onExceeded: Reject
"""


async def shop(scene: Scene) -> SmtpPeer:
    """Log in as the shop and say MAIL."""
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    await peer.say("EHLO client.example")
    assert (await peer.say(f"AUTH PLAIN {LOGIN}")).startswith("235 ")
    assert (await peer.say("MAIL FROM:<me@shop.example>")).startswith("250 ")
    return peer


async def network(scene: Scene) -> SmtpPeer:
    """Say MAIL on the relay port, as a Client by network."""
    peer = await scene.peer()
    assert (await peer.envelope("me@near.example"))[0].startswith("250 ")
    return peer


async def test_a_quota_counts_as_it_is_at_the_final_dot(
    open_scene: OpenScene, tmp_path: Path
) -> None:
    scene = await open_scene(quota(100))
    peers = [await shop(scene) for _ in range(4)]
    for peer in peers:
        assert (await peer.say("RCPT TO:<you@far.example>")).startswith("250 ")
        assert (await peer.say("DATA")).startswith("354 ")
    await scene.configure(quota(2), tmp_path)
    said = [(await peer.send(CONTENT))[:9] for peer in peers]
    assert said == ["250 2.0.0"] * 2 + ["550 5.7.1"] * 2
    assert len(scene.records) == 2


CHANGES = pytest.mark.parametrize(
    ("begin", "changed", "reply"),
    [
        (shop, without("shop"), "421 4.7.0 "),
        (shop, MANIFESTS.replace("correct horse", "another"), "421 4.7.0 "),
        (shop, MANIFESTS.replace("*@shop.example", "*@store.example"), "550 5.7.1 "),
        (network, without("network"), "451 4.7.1 "),
        (network, MANIFESTS.replace("*@near.example", "*@far.example"), "451 4.7.1 "),
    ],
    ids=["client gone", "password", "senders", "network gone", "senders of a network"],
)
# On the submissions port 127.0.0.1 is the Client `network` too: here only who logs in is one.
_AT_LOGIN = ("127.0.0.1/32", "192.0.2.1/32")


@CHANGES
@pytest.mark.parametrize("step", ["RCPT", "DATA", "dot"])
async def test_a_client_that_may_not_send_any_more_is_stopped_at_its_next_step(
    open_scene: OpenScene,
    tmp_path: Path,
    begin: Callable[[Scene], Awaitable[SmtpPeer]],
    changed: str,
    reply: str,
    step: str,
) -> None:
    elsewhere = _AT_LOGIN if begin is shop else ("", "")
    scene = await open_scene(MANIFESTS.replace(*elsewhere))
    peer = await begin(scene)
    assert (await peer.say("RCPT TO:<you@far.example>")).startswith("250 ")
    if step == "dot":
        assert (await peer.say("DATA")).startswith("354 ")
    await scene.configure(changed.replace(*elsewhere), tmp_path)
    steps = {"RCPT": b"RCPT TO:<me@far.example>\r\n", "DATA": b"DATA\r\n", "dot": CONTENT}
    assert (await peer.send(steps[step])).startswith(reply)
    if reply.startswith("421 "):
        assert await peer.reply() == ""  # and so is the session
    else:
        assert (await peer.say("DATA")).startswith("503 5.5.1 ")  # the transaction is over
    assert not scene.records


async def test_an_edit_elsewhere_does_not_disturb(open_scene: OpenScene, tmp_path: Path) -> None:
    scene = await open_scene()
    peer = await network(scene)
    assert (await peer.say("RCPT TO:<you@far.example>")).startswith("250 ")
    await scene.configure(quota(100), tmp_path)
    assert (await peer.say("DATA")).startswith("354 ")
    await scene.configure(quota(99), tmp_path)
    assert (await peer.send(CONTENT)).startswith("250 2.0.0 ")
    assert (await peer.say("MAIL FROM:<me@near.example>")).startswith("250 ")


async def test_a_recipient_that_was_accepted_stays_so_and_the_next_is_judged_anew(
    open_scene: OpenScene, tmp_path: Path
) -> None:
    scene = await open_scene(MANIFESTS.replace("127.0.0.1/32", "192.0.2.1/32"))
    peer = await scene.peer()
    replies = await peer.envelope("a@stranger.example", "known@here.example")
    assert [reply[:3] for reply in replies] == ["250", "250"]
    await scene.configure(MANIFESTS.replace("known@", "other@"), tmp_path)
    assert (await peer.say("RCPT TO:<known@here.example>")).startswith("550 5.1.1 ")
    assert (await peer.say("RCPT TO:<other@here.example>")).startswith("250 ")
    assert (await peer.message()).startswith("250 2.0.0 ")
    (record,) = scene.records
    assert [each.mailbox.local_part for each in record.recipients] == ["known", "other"]


async def test_a_configuration_that_is_gone_means_later(scene: Scene) -> None:
    peer = await network(scene)
    await scene.spool.config.publish({})
    while scene.configuration.current is not None:
        await scene.configuration.changed()
    assert (await peer.say("RCPT TO:<you@far.example>")).startswith("421 4.3.2 ")
