"""
May this client send this? A pure function of snapshot, client and envelope; no I/O, no clock.

A client is recognised as a Client by its password or by its network. It may then relay mail from
the senders that this Client allows. Anyone may send to the recipients of a Domain that receives,
and to `postmaster` of every handled domain (RFC 5321 §4.5.1). All else is refused with 550 5.7.1.

On the relay port, a network proves little. If a host in a Client's network uses a sender that the
Client does not allow, MAIL is not refused: the host is a stranger for that transaction, because
mail for our own domains comes from everywhere. A client that has logged in, or that uses a
submission port, asks to submit mail. There, a sender that is not allowed is refused at MAIL.
"""

from enum import StrEnum

from postroad.acceptance import verdicts
from postroad.mail.address import Mailbox, is_local, meant
from postroad.mail.ip_address import Address
from postroad.mail.valueclass import valueclass
from postroad.policy.consent import may_send_as
from postroad.policy.egress_path import find_egress_path
from postroad.policy.model import Client, EgressPath
from postroad.policy.patterns import any_matches
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply


class ListenerKind(StrEnum):
    """What a port is for."""

    RELAY = "relay"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"


@valueclass(frozen=True, slots=True)
class Submitter:
    """A connected client: the port it uses, and the Clients that cover it."""

    listener: ListenerKind
    clients: tuple[Client, ...]
    authenticated: bool = False

    @property
    def submits(self) -> bool:
        """Whether it submits mail: it uses a submission port, or it has logged in."""
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
    """Decide a MAIL command: the first Client that may send as this address is the sender's."""
    if not submitter.clients and submitter.submits:
        return verdicts.AUTH_REQUIRED
    for client in submitter.clients:
        if _may_send(snapshot, client, reverse_path):
            return Sender(client, reverse_path)
    if submitter.submits:
        return _unless_stale(snapshot, verdicts.SENDER_DENIED)
    return Sender(None, reverse_path)


def readmit_sender(snapshot: Snapshot, submitter: Submitter, sender: Sender) -> Sender | Reply:
    """
    Decide an accepted MAIL again, under a configuration that came into force after it.

    Its recipients were accepted for its Client, so no other Client takes its place.
    """
    now = admit_sender(snapshot, submitter, sender.reverse_path)
    if isinstance(now, Reply):
        return _unless_stale(snapshot, now)
    if sender.client is not None and (now.client is None or now.client.key != sender.client.key):
        return verdicts.SENDER_CHANGED
    return now


def _may_send(snapshot: Snapshot, client: Client, reverse_path: Mailbox | None) -> bool:
    # The notifications of mail servers have the null reverse-path (RFC 5321 §4.5.5).
    if reverse_path is None:
        return True
    if not may_send_as(snapshot.domains.get(reverse_path.domain), client.key.namespace):
        return False
    return any_matches(client.allowed, reverse_path.local_part, reverse_path.domain)


def _unless_stale(snapshot: Snapshot, refusal: Reply) -> Reply:
    """Return the refusal; or a temporary one if an object that cannot be read might allow it."""
    return verdicts.CONFIGURATION_INCOMPLETE if snapshot.stale else refusal


def admit_recipient(snapshot: Snapshot, sender: Sender, recipient: Mailbox) -> EgressPath | Reply:
    """Decide a RCPT command: return the egress path of its mail, or the refusal."""
    namespace = sender.client.key.namespace if sender.client else None
    domain = snapshot.domain_for(recipient.domain, namespace)
    postmaster = domain is not None and meant(recipient.local_part) == "postmaster"
    if domain is not None and domain.receive is not None:
        receive = domain.receive
        anyone = postmaster or receive.recipients is None
        if anyone or any_matches(receive.known, recipient.local_part, recipient.domain):
            return receive.egress_path
        return _unless_stale(snapshot, verdicts.NO_SUCH_RECIPIENT)
    if sender.client is None and not postmaster:
        return _unless_stale(snapshot, verdicts.RELAYING_DENIED)
    # A stranger's mail to postmaster of a domain that only sends takes that domain's own path.
    reverse_domain = sender.reverse_path.domain if sender.reverse_path else None
    egress_path = find_egress_path(
        snapshot,
        client=sender.client.key if sender.client else None,
        sender_domain=reverse_domain,
        recipient_domain=recipient.domain,
    )
    if egress_path is None:
        return _unless_stale(snapshot, verdicts.NO_ROUTE)
    # RFC 6761 §6.3: the DNS is not asked for such a name; it would mean the relay itself.
    if egress_path.by_mx and is_local(recipient.domain):
        return _unless_stale(snapshot, verdicts.LOCAL_DOMAIN)
    return egress_path
