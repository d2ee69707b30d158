"""
Chooses the egress path of a recipient's mail. Ingress and delivery must agree on it.

Ingress calls this at RCPT, to refuse recipients without an egress path and to choose pool and lane.
Delivery calls it again at every attempt, because the objects may have changed while the message
waited. It is a pure function of a snapshot and the message's origin. While some objects cannot be
read, delivery also checks whether one of them might change the result.
"""

from postroad.policy.model import Client, Domain, EgressPath, ObjectKey, Reach
from postroad.policy.patterns import matching
from postroad.policy.snapshot import Snapshot

_KINDS = frozenset({"domain", "relay", "client", "quota"})


def find_egress_path(
    snapshot: Snapshot,
    *,
    client: ObjectKey | None,
    sender_domain: str | None,
    recipient_domain: str,
    namespace: str | None = None,
) -> EgressPath | None:
    """
    Return how mail for `recipient_domain` leaves, None when no object decides it.

    The order is that of docs/resources.md: the recipient's own Domain when it receives and counts
    in the namespace that the mail is of; the Client's Relay; the sender Domain's Relay; the most
    specific Relay of the namespace. That namespace is the Client's, else the sender Domain's, else
    `namespace` (of the Domain that a notification is about). A stranger's mail to a Domain counts
    as sent by that Domain, whatever its reverse-path.
    """
    of = client.namespace if client is not None else namespace
    domain = snapshot.domain_for(recipient_domain, of)
    if domain is not None and domain.receive is not None:
        return domain.receive.egress_path
    if domain is not None and client is None and namespace is None:
        sender_domain = recipient_domain
    submitter = snapshot.clients.get(client) if client is not None else None
    sender = snapshot.domain_for(sender_domain, of) if sender_domain else None
    named = _named_relay(submitter, sender)
    if named is not None:
        # If the named Relay does not exist, there is no egress path: no other one may replace it.
        relay = snapshot.relays.get(named)
        return relay.egress_path if relay is not None else None
    home = of if sender is None or client is not None else sender.key.namespace
    return _most_specific(snapshot, home, recipient_domain) if home else None


def may_be_otherwise(
    snapshot: Snapshot,
    *,
    client: ObjectKey | None,
    sender_domain: str | None,
    recipient_domain: str,
    namespace: str | None = None,
) -> bool:
    """
    Whether an object that cannot be read here might change the result of `find_egress_path`.

    An unreadable Domain may have any name, and an unreadable Relay any destination. The last
    readable form of such an object does not count: it was changed since, perhaps so that mail no
    longer leaves that way.
    """
    if not snapshot.unreadable:
        return False
    of = client.namespace if client is not None else namespace
    domain = snapshot.domain_for(recipient_domain, of)
    kinds = {key.partition(".")[0] for key in snapshot.unreadable}
    if kinds - _KINDS:
        return True  # a kind of a later version
    if domain is not None and domain.receive is not None:
        # An unreadable Domain may have proven the name.
        proven = domain.reach is Reach.EVERYBODY
        return _is_unread(snapshot, "domain", domain.key) or (not proven and "domain" in kinds)
    if domain is not None and client is None and namespace is None:
        sender_domain = recipient_domain
    if "domain" in kinds or (client is not None and _is_unread(snapshot, "client", client)):
        return True
    submitter = snapshot.clients.get(client) if client is not None else None
    sender = snapshot.domain_for(sender_domain, of) if sender_domain else None
    named = _named_relay(submitter, sender)
    if named is not None:
        return _is_unread(snapshot, "relay", named)
    home = of if sender is None or client is not None else sender.key.namespace
    return _has_unread(snapshot, "relay", home)


def _is_unread(snapshot: Snapshot, kind: str, key: ObjectKey) -> bool:
    return f"{kind}.{key.namespace}.{key.name}" in snapshot.unreadable


def _has_unread(snapshot: Snapshot, kind: str, namespace: str | None) -> bool:
    return any(key.startswith(f"{kind}.{namespace}.") for key in snapshot.unreadable)


def _named_relay(submitter: Client | None, sender: Domain | None) -> ObjectKey | None:
    if submitter is not None and submitter.relay is not None:
        return submitter.relay
    return sender.relay if sender is not None else None


def _most_specific(snapshot: Snapshot, namespace: str, domain: str) -> EgressPath | None:
    relays = snapshot.relays_by_destination
    for pattern in matching(domain):
        if (relay := relays.get((namespace, pattern))) is not None:
            return relay.egress_path
    return None
