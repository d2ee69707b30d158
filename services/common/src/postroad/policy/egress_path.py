"""
Which way a recipient's mail leaves: the one decision ingress and delivery must agree on.

Ingress asks it at RCPT, to refuse what has no egress path and to choose pool and lane; delivery
asks it again at every attempt, because the objects may have changed while the message waited. Pure:
a snapshot and the message's origin in, an EgressPath or None out. While objects cannot be read,
delivery also asks whether one of them might say otherwise.
"""

from postroad.policy.model import Client, EgressPath, ObjectKey
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
    Return how mail for `recipient_domain` leaves, None when no object says.

    The order is resources.md's: the recipient's own Domain when it receives; the Client's Relay;
    the sender Domain's Relay; the most specific Relay of the namespace (the Client's, else the
    sender Domain's, else `namespace`: that of the Domain a notification is about). A stranger's
    mail is in the name of the recipient's Domain, whoever he says that he is.
    """
    domain = snapshot.domains.get(recipient_domain)
    if domain is not None and domain.receive is not None:
        return domain.receive.egress_path
    if domain is not None and client is None and namespace is None:
        sender_domain = recipient_domain
    submitter = snapshot.clients.get(client) if client is not None else None
    named = _named_relay(snapshot, submitter, sender_domain)
    if named is not None:
        # A Relay that is named and gone leaves no egress path: another one is never a substitute.
        relay = snapshot.relays.get(named)
        return relay.egress_path if relay is not None else None
    home = _namespace(snapshot, client, sender_domain) or namespace
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
    Whether an object that cannot be read here might change what `find_egress_path` says of it.

    An unreadable Domain may be that of any domain, and an unreadable Relay may be for any
    destination. What was in force of an object that cannot be read any more does not count: it was
    changed since, perhaps to keep mail from leaving that way.
    """
    if not snapshot.unreadable:
        return False
    domain = snapshot.domains.get(recipient_domain)
    kinds = {key.partition(".")[0] for key in snapshot.unreadable}
    if kinds - _KINDS:
        return True  # of a later version, which knows what it means
    if domain is not None and domain.receive is not None:
        return _is_unread(snapshot, "domain", domain.key)
    if domain is not None and client is None and namespace is None:
        sender_domain = recipient_domain
    if "domain" in kinds or (client is not None and _is_unread(snapshot, "client", client)):
        return True
    submitter = snapshot.clients.get(client) if client is not None else None
    named = _named_relay(snapshot, submitter, sender_domain)
    if named is not None:
        return _is_unread(snapshot, "relay", named)
    home = _namespace(snapshot, client, sender_domain) or namespace
    return any(key.startswith(f"relay.{home}.") for key in snapshot.unreadable)


def _is_unread(snapshot: Snapshot, kind: str, key: ObjectKey) -> bool:
    return f"{kind}.{key.namespace}.{key.name}" in snapshot.unreadable


def _named_relay(
    snapshot: Snapshot, submitter: Client | None, sender_domain: str | None
) -> ObjectKey | None:
    if submitter is not None and submitter.relay is not None:
        return submitter.relay
    sender = snapshot.domains.get(sender_domain) if sender_domain else None
    return sender.relay if sender is not None else None


def _namespace(
    snapshot: Snapshot, client: ObjectKey | None, sender_domain: str | None
) -> str | None:
    if client is not None:
        return client.namespace
    sender = snapshot.domains.get(sender_domain) if sender_domain else None
    return sender.key.namespace if sender is not None else None


def _most_specific(snapshot: Snapshot, namespace: str, domain: str) -> EgressPath | None:
    relays = snapshot.relays_by_destination
    for pattern in matching(domain):
        if (relay := relays.get((namespace, pattern))) is not None:
            return relay.egress_path
    return None
