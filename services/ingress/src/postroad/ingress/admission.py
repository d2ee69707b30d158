"""
May this client send this? A pure function of snapshot, client and envelope; no I/O, no clock.

A Client is proven by password or by network, and may then relay for the senders it is allowed.
Anyone may send to the recipients of a Domain that receives, and to `postmaster` of every handled
domain (RFC 5321 §4.5.1). All else is refused with 550 5.7.1.

On the relay port a network is a weak proof: a host in it that sends as somebody else is a stranger
for that transaction, as any other, rather than refused outright, because mail for our own domains
comes from everywhere. A password, or a submission port, asks to submit: there a sender that is not
allowed is refused at MAIL.
"""

import ipaddress
from enum import StrEnum

from postroad.ingress import replies
from postroad.mail.address import Mailbox, is_local, meant
from postroad.mail.valueclass import valueclass
from postroad.policy.consent import may_send_as
from postroad.policy.egress_path import find_egress_path
from postroad.policy.model import Client, EgressPath
from postroad.policy.patterns import any_matches
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ListenerKind(StrEnum):
    """What a port is for."""

    RELAY = "relay"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"


@valueclass(frozen=True, slots=True)
class Submitter:
    """Who is at the other end: the port it came to, and the Clients it proved to be."""

    listener: ListenerKind
    clients: tuple[Client, ...]
    authenticated: bool = False

    @property
    def submits(self) -> bool:
        """Whether it has asked to submit, by port or by password."""
        return self.authenticated or self.listener is not ListenerKind.RELAY


@valueclass(frozen=True, slots=True)
class Sender:
    """An accepted MAIL: the Client in whose name it relays, None for a stranger."""

    client: Client | None
    reverse_path: Mailbox | None


def clients_by_network(snapshot: Snapshot, address: Address) -> tuple[Client, ...]:
    """Return the Clients with a network that holds an address, the narrowest network first."""
    found = {client.key: client for client in snapshot.clients_by_network.of(address)}
    return tuple(found.values())


def admit_sender(
    snapshot: Snapshot, submitter: Submitter, reverse_path: Mailbox | None
) -> Sender | Reply:
    """Decide a MAIL command: in the name of the first Client that may send as this address."""
    if not submitter.clients and submitter.submits:
        return replies.AUTH_REQUIRED
    for client in submitter.clients:
        if _may_send(snapshot, client, reverse_path):
            return Sender(client, reverse_path)
    if submitter.submits:
        return _unless_stale(snapshot, replies.SENDER_DENIED)
    return Sender(None, reverse_path)


def readmit_sender(snapshot: Snapshot, submitter: Submitter, sender: Sender) -> Sender | Reply:
    """
    Decide an accepted MAIL again, under a configuration that came into force after it.

    Recipients were accepted in the name of its Client, so it goes on in no other name.
    """
    now = admit_sender(snapshot, submitter, sender.reverse_path)
    if isinstance(now, Reply):
        return _unless_stale(snapshot, now)
    if sender.client is not None and (now.client is None or now.client.key != sender.client.key):
        return replies.SENDER_CHANGED
    return now


def _may_send(snapshot: Snapshot, client: Client, reverse_path: Mailbox | None) -> bool:
    # The null reverse-path is what a mail server's own notifications have (RFC 5321 §4.5.5).
    if reverse_path is None:
        return True
    domain = snapshot.domains.get(reverse_path.domain)
    if domain is not None and not may_send_as(domain, client.key.namespace):
        return False
    return any_matches(client.allowed, reverse_path.local_part, reverse_path.domain)


def _unless_stale(snapshot: Snapshot, refusal: Reply) -> Reply:
    """Return a refusal, or "later" while an object that says otherwise may be unreadable here."""
    return replies.CONFIGURATION_INCOMPLETE if snapshot.stale else refusal


def admit_recipient(snapshot: Snapshot, sender: Sender, recipient: Mailbox) -> EgressPath | Reply:
    """Decide a RCPT command: how its mail will leave, or why not."""
    domain = snapshot.domains.get(recipient.domain)
    postmaster = domain is not None and meant(recipient.local_part) == "postmaster"
    if domain is not None and domain.receive is not None:
        receive = domain.receive
        anyone = postmaster or receive.recipients is None
        if anyone or any_matches(receive.known, recipient.local_part, recipient.domain):
            return receive.egress_path
        return _unless_stale(snapshot, replies.NO_SUCH_RECIPIENT)
    if sender.client is None and not postmaster:
        return _unless_stale(snapshot, replies.RELAYING_DENIED)
    # A stranger's to postmaster of a domain that only sends goes the way that domain's mail goes.
    reverse_domain = sender.reverse_path.domain if sender.reverse_path else None
    egress_path = find_egress_path(
        snapshot,
        client=sender.client.key if sender.client else None,
        sender_domain=reverse_domain,
        recipient_domain=recipient.domain,
    )
    if egress_path is None:
        return _unless_stale(snapshot, replies.NO_ROUTE)
    # RFC 6761 §6.3: such a name is never asked of the DNS, and would mean the relay itself.
    if egress_path.by_mx and is_local(recipient.domain):
        return _unless_stale(snapshot, replies.LOCAL_DOMAIN)
    return egress_path
