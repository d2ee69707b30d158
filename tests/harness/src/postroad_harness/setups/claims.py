"""Namespaces that claim one name, for tests of who takes its mail."""

from collections.abc import Mapping

from postroad.manifests.compiler.claims import ClaimKey, Claims, Evidence
from postroad.manifests.compiler.result import Compiled, ConditionType
from postroad.manifests.objects import Kind, Reference
from postroad.policy.egress_path import find_egress_path
from postroad.policy.model import ClaimBasis, Client, Domain, ObjectKey, Relay
from postroad.policy.snapshot import Snapshot

NAME = "bank.example"
DOMAIN = """\
kind: Domain
metadata: {name: d, namespace: %s, creationTimestamp: '2026-01-%sT00:00:00Z'}
spec:
  domain: bank.example
  receive: {route: {hosts: [{host: mail.%s.example}]}}
  send: {relayRef: {name: out}}
  allowedNamespaces: {from: All}"""
RELAY = "kind: Relay\nmetadata: {name: out, namespace: %s}\nspec: {mx: {}}"
CLIENT = """\
kind: Client
metadata: {name: c, namespace: %s}
spec: {networks: [10.0.0.0/8], senders: ['*@bank.example']}"""
GRANT = """\
kind: DomainGrant
metadata: {name: g, namespace: %s}
spec: {domains: ['%s'], namespaces: [%s]}"""
# shop's Domain is older than work's; app only sends.
SHOP, WORK = DOMAIN % ("shop", "01", "shop"), DOMAIN % ("work", "02", "work")
OTHERS = (*(RELAY % each for each in ("shop", "work", "app")), CLIENT % "app")


NOTHING = {"shop": Evidence(ClaimBasis.NONE), "work": Evidence(ClaimBasis.NONE)}


def judged(dns: Mapping[str, Evidence] = NOTHING) -> Claims:
    """Return claims of a cluster whose release is in namespace mail; `dns` by namespace."""
    keys = {ClaimKey(namespace, NAME): evidence for namespace, evidence in dns.items()}
    return Claims(frozenset({"mail"}), "mail", keys, "relay.example")


def snapshot_of(outcome: Compiled) -> Snapshot:
    entries = outcome.entries.values()
    return Snapshot.of(
        1,
        domains=tuple(each for each in entries if isinstance(each, Domain)),
        relays=tuple(each for each in entries if isinstance(each, Relay)),
        clients=tuple(each for each in entries if isinstance(each, Client)),
    )


def hosts(outcome: Compiled) -> dict[str, str]:
    """Return whose route the mail to the name takes, by the namespace that it is of."""
    found = {}
    for whose in ("shop", "work", "app", "strangers"):
        path = find_egress_path(
            snapshot_of(outcome),
            client=None if whose == "strangers" else ObjectKey(whose, "c"),
            sender_domain=None,
            recipient_domain=NAME,
        )
        assert path is not None
        found[whose] = path.smarthosts[0].host.split(".")[1] if path.smarthosts else "by MX"
    return found


def claimed(outcome: Compiled, namespace: str) -> tuple[bool, str, str]:
    """Return status, reason and message of DomainClaimed."""
    conditions = outcome.conditions[Reference(Kind.DOMAIN, ObjectKey(namespace, "d"))]
    [found] = [each for each in conditions if each.type is ConditionType.DOMAIN_CLAIMED]
    return found.status, str(found.reason), found.message
