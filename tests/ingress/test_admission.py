"""Who may send what to whom: a table of sessions, and decisions that need a special state."""

import dataclasses
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, ip_network

import pytest

from postroad.acceptance.admission import (
    ListenerKind,
    Sender,
    Submitter,
    admit_recipient,
    admit_sender,
    clients_by_network,
)
from postroad.acceptance.verdicts import CONFIGURATION_INCOMPLETE, LOCAL_DOMAIN
from postroad.mail.address import parse_mailbox
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import Client, Domain, EgressPath, ObjectKey, Receive
from postroad.policy.snapshot import Snapshot
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

RELAY, SUBMISSION = ListenerKind.RELAY, ListenerKind.SUBMISSION
STRANGERS = MANIFESTS.replace("127.0.0.1/32", "192.0.2.0/24")  # then loopback is nobody


@pytest.mark.parametrize(
    ("kind", "sender", "recipient", "mail", "rcpt"),
    [
        # A network that is a Client, as the senders it is allowed.
        (RELAY, "me@near.example", "you@far.example", "250 2.1.0 ", "250 2.1.5 "),
        (SUBMISSION, "me@near.example", "you@far.example", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "", "you@far.example", "250 2.1.0 ", "250 2.1.5 "),
        # The same as somebody else: a stranger on the relay port, refused on submission.
        (RELAY, "me@other.example", "you@far.example", "250 2.1.0 ", "550 5.7.1 "),
        (RELAY, "me@other.example", "known@here.example", "250 2.1.0 ", "250 2.1.5 "),
        (SUBMISSION, "me@other.example", "you@far.example", "550 5.7.1 ", "503 5.5.1 "),
        (RELAY, "me@near.example", "nobody@here.example", "250 2.1.0 ", "550 5.1.1 "),
    ],
)
async def test_a_client_by_network(
    scene: Scene, kind: ListenerKind, sender: str, recipient: str, mail: str, rcpt: str
) -> None:
    peer = await scene.peer(kind)
    replies = await peer.envelope(sender, recipient)
    assert [reply[: len(code)] for reply, code in zip(replies, (mail, rcpt), strict=True)] == [
        mail,
        rcpt,
    ]


@pytest.mark.parametrize(
    ("kind", "recipient", "mail", "rcpt"),
    [
        (RELAY, "you@far.example", "250 2.1.0 ", "550 5.7.1 "),
        (RELAY, "known@here.example", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "KNOWN@HERE.EXAMPLE", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "unknown@here.example", "250 2.1.0 ", "550 5.1.1 "),
        (RELAY, '"known"@here.example', "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, r'"k\nown"@here.example', "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, '"known "@here.example', "250 2.1.0 ", "550 5.1.1 "),
        # Each address is listed by itself, with its tag; only postmaster need not be.
        (RELAY, "known+tag@here.example", "250 2.1.0 ", "550 5.1.1 "),
        (RELAY, "abuse@here.example", "250 2.1.0 ", "550 5.1.1 "),
        (RELAY, "postmaster@here.example", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, '"Postmaster"@here.example', "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "PostMaster@here.example", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "postmaster", "250 2.1.0 ", "250 2.1.5 "),
        (RELAY, "postmaster@far.example", "250 2.1.0 ", "550 5.7.1 "),
        # The relay is open to no trick of old: percent hack, bang paths, source routes.
        (RELAY, "you%far.example@here.example", "250 2.1.0 ", "550 5.1.1 "),
        (RELAY, "far.example!you@here.example", "250 2.1.0 ", "550 5.1.1 "),
        (RELAY, "@here.example:you@far.example", "250 2.1.0 ", "550 5.7.1 "),
        (RELAY, '"you@far.example"@here.example', "250 2.1.0 ", "550 5.1.1 "),
        (SUBMISSION, "known@here.example", "530 5.7.0 ", "503 5.5.1 "),
    ],
)
async def test_a_stranger(
    open_scene: OpenScene, kind: ListenerKind, recipient: str, mail: str, rcpt: str
) -> None:
    scene = await open_scene(STRANGERS)
    peer = await scene.peer(kind)
    said = await peer.envelope("a@stranger.example", recipient)
    assert said[0].startswith(mail)
    assert said[1].startswith(rcpt)


async def test_a_refused_recipient_does_not_spoil_the_others(open_scene: OpenScene) -> None:
    scene = await open_scene(STRANGERS)
    peer = await scene.peer()
    await peer.envelope("a@stranger.example", "you@far.example", "known@here.example")
    assert (await peer.message()).startswith("250 ")
    [record] = scene.records
    assert [str(r.mailbox) for r in record.recipients] == ["known@here.example"]


TWO_NETWORKS = """\
kind: Relay
apiVersion: postroad.dev/v1alpha1
metadata: {name: out}
spec: {destinations: ["*"], mx: {}}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: wide}
spec: {networks: [127.0.0.0/8], senders: ["*@wide.example"], class: Bulk}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: narrow}
spec: {networks: [127.0.0.1/32], senders: ["*@narrow.example"], class: Transactional}
"""


@pytest.mark.parametrize(
    ("sender", "client", "traffic_class"),
    [
        ("me@wide.example", "default/wide", TrafficClass.BULK),
        ("me@narrow.example", "default/narrow", TrafficClass.TRANSACTIONAL),
        ("", "default/narrow", TrafficClass.TRANSACTIONAL),
    ],
)
async def test_of_overlapping_networks_the_client_that_may_send_as_the_sender(
    open_scene: OpenScene, sender: str, client: str, traffic_class: TrafficClass
) -> None:
    scene = await open_scene(TWO_NETWORKS)
    peer = await scene.peer()
    await peer.envelope(sender, "you@far.example")
    await peer.message()
    [record] = scene.records
    assert record.origin.client == client
    assert record.traffic_class is traffic_class


FOREIGN_DOMAIN = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], mx: {}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out, namespace: theirs}
spec: {destinations: ["*"], mx: {}}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: all}
spec: {networks: [127.0.0.0/8], senders: ["*"]}
---
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {name: theirs, namespace: theirs}
spec: {domain: theirs.example, send: {relayRef: {name: out}}}
"""


async def test_a_domain_is_sent_as_by_its_own_namespace_only(open_scene: OpenScene) -> None:
    scene = await open_scene(FOREIGN_DOMAIN)
    peer = await scene.peer(SUBMISSION)
    assert (await peer.envelope("me@theirs.example"))[0].startswith("550 5.7.1 ")
    assert (await peer.say("MAIL FROM:<me@free.example>")).startswith("250 ")


async def test_what_is_unknown_is_refused_for_good_only_when_nothing_is_unreadable(
    scene: Scene,
) -> None:
    snapshot = scene.configuration.current
    assert snapshot is not None
    stale = dataclasses.replace(snapshot, unreadable=frozenset({"relay.shop.lost"}))
    stranger = Sender(None, parse_mailbox("a@stranger.example"))
    for recipient in ("you@far.example", "unknown@here.example"):
        mailbox = parse_mailbox(recipient)
        refused = admit_recipient(snapshot, stranger, mailbox)
        assert getattr(refused, "is_permanent", False)
        assert admit_recipient(stale, stranger, mailbox) == CONFIGURATION_INCOMPLETE
    shop = Submitter(SUBMISSION, clients_by_network(stale, IPv4Address("127.0.0.1")))
    sender = Sender(shop.clients[0], parse_mailbox("me@near.example"))
    local = parse_mailbox("you@localhost")  # some Relay may be for it
    assert admit_recipient(snapshot, sender, local) == LOCAL_DOMAIN
    assert admit_recipient(stale, sender, local) == CONFIGURATION_INCOMPLETE
    assert admit_sender(stale, shop, stranger.reverse_path) == CONFIGURATION_INCOMPLETE


THOUSANDS = Snapshot.of(
    1,
    domains=(
        *(
            Domain(ObjectKey("x", f"d{number}"), f"d{number}.example", Receive(EgressPath("d")))
            for number in range(2_000)
        ),
        Domain(
            ObjectKey("x", "here"),
            "here.example",
            Receive(EgressPath("here"), tuple(f"user{n}@here.example" for n in range(10_000))),
        ),
    ),
    clients=(
        *(
            Client(ObjectKey("x", f"c{number}"), networks=(ip_network(f"10.0.{number}.0/24"),))
            for number in range(250)
        ),
        Client(
            ObjectKey("x", "large"),
            networks=(ip_network("192.0.2.0/24"),),
            senders=tuple(f"user{number}@far.example" for number in range(1_000)),
        ),
    ),
)
STRANGER = Sender(None, parse_mailbox("a@stranger.example"))
LARGE = Submitter(SUBMISSION, (THOUSANDS.clients[ObjectKey("x", "large")],))


@pytest.mark.parametrize(
    "asked",
    [
        lambda: admit_recipient(THOUSANDS, STRANGER, parse_mailbox("user9999@here.example")),
        lambda: admit_recipient(THOUSANDS, STRANGER, parse_mailbox("nobody@here.example")),
        lambda: admit_sender(THOUSANDS, LARGE, parse_mailbox("user999@far.example")),
        lambda: clients_by_network(THOUSANDS, IPv4Address("192.0.2.1")),
        lambda: THOUSANDS.postmaster_domain,
    ],
)
def test_no_command_is_a_search_through_thousands_of_configured_values(
    asked: Callable[[], object],
) -> None:
    asked()  # what a snapshot is asked for the first time, it prepares
    calls = []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    try:
        asked()
    finally:
        sys.setprofile(None)
    assert len(calls) < 100
