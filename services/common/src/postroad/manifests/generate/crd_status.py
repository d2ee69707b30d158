"""
The schema of each kind's status, and its columns in `kubectl get`.

Only the operator writes a status, through the subresource. So there are no models and rules for it,
only a schema with descriptions, which `kubectl explain` and docs/resources.md show.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from postroad.manifests.objects import Kind
from postroad.manifests.schema import Schema


class Names(NamedTuple):
    """The names of a kind on the command line."""

    plural: str
    short: str


NAMES: Mapping[Kind, Names] = {
    Kind.DOMAIN: Names("domains", "dom"),
    Kind.RELAY: Names("relays", "rly"),
    Kind.QUOTA: Names("quotas", "quo"),
    Kind.CLIENT: Names("clients", "mcl"),
    Kind.DOMAIN_GRANT: Names("domaingrants", "dgr"),
}

SHARED = {
    "Ready": "the object is in force everywhere: those of Accepted, SecretsResolved, SendersAllowed"
    " and Programmed that it has are true",
    "Accepted": "it is valid and admitted, and has lost no conflict",
    "Programmed": "all ingress and delivery processes use this generation of it",
}
_SECRETS = {"SecretsResolved": "the Secrets it names are there and have the keys they need"}
CONDITIONS: Mapping[Kind, Mapping[str, str]] = {
    Kind.DOMAIN: {
        **SHARED,
        "DomainClaimed": "a grant or the DNS proves the name, so it takes the mail of other"
        " namespaces, too; not part of Ready",
        "DNSVerified": "the DNS has the records of status.dnsRecords; not part of Ready",
    },
    Kind.RELAY: {
        **SHARED,
        **_SECRETS,
        "Reachable": "a smarthost answers; not part of Ready",
        "StreamRefusesWrites": "a part of the queue takes no mail; there only while that is so",
    },
    Kind.QUOTA: SHARED,
    Kind.CLIENT: {
        **SHARED,
        **_SECRETS,
        "SendersAllowed": "the Domains of its senders admit its namespace",
    },
    Kind.DOMAIN_GRANT: {name: SHARED[name] for name in ("Ready", "Accepted")},
}


def _text(description: str, longest: int, **more: object) -> dict[str, Any]:
    return {"type": "string", "description": description, "maxLength": longest, **more}


def _count(description: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": 0, "description": description}


def _time(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "date-time", "description": description}


def _entries(description: str, most: int, entry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "description": description, "maxItems": most, "items": entry}


def _conditions(kind: Kind) -> dict[str, Any]:
    told = "; ".join(f"{name}: {meaning}" for name, meaning in CONDITIONS[kind].items())
    entry = {
        "type": "object",
        "description": "A statement about the object that is true, false or unknown.",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": _text(f"What the condition states. {told}.", 316, minLength=1),
            "status": {
                "type": "string",
                "enum": ["True", "False", "Unknown"],
                "description": "Whether it is true; Unknown if nobody could find out.",
            },
            "reason": _text("Why, as one word for programs.", 1024, minLength=1),
            "message": _text("Why, as a sentence for people, and what to do.", 32768),
            "lastTransitionTime": _time("When the status last changed."),
            "observedGeneration": _count("The metadata.generation that this is about."),
        },
    }
    found = _entries("The conditions of the object, each type once.", 32, entry)
    listed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return {**found, **listed}


_DNS_RECORD = {
    "type": "object",
    "description": "A DNS record to publish, and its state.",
    "required": ["name", "type", "value", "state"],
    "properties": {
        "name": _text("Name of the record, such as _dmarc.example.com.", 300),
        "type": _text("Type of the record: MX or TXT, for example.", 16),
        "value": _text("What to publish.", 4096),
        "state": {
            "type": "string",
            "enum": ["Found", "Missing", "Different", "Unknown"],
            "description": "Found: as it should be. Missing: there is none. Different: there is"
            " another, shown in found. Unknown: the lookup failed.",
        },
        "found": _text("The record that is published instead.", 4096),
    },
}
_USAGE = {
    "type": "object",
    "description": "How much of one limit is used in its current window.",
    "required": ["limit", "used", "max", "resetsAt"],
    "properties": {
        "limit": _text("The limit: what is counted, and the window, such as messages/1h.", 64),
        "subject": _text("Whose count this is, if the Quota counts several separately.", 512),
        "used": _count("How much is used."),
        "max": _count("How much the limit allows."),
        "resetsAt": _time("When the window ends and the count restarts."),
    },
}
OWN_FIELDS: Mapping[Kind, Mapping[str, Schema]] = {
    Kind.DOMAIN: {
        "dnsRecords": _entries(
            "DNS records that the domain should have, and what the last look-up found.",
            64,
            _DNS_RECORD,
        ),
    },
    Kind.RELAY: {},
    Kind.QUOTA: {
        "usage": _entries(
            "How much is used, the fullest first. Of very many counts only the fullest.",
            1000,
            _USAGE,
        ),
    },
    Kind.CLIENT: {},
    Kind.DOMAIN_GRANT: {},
}


def status_schema(kind: Kind) -> Schema:
    """Return the schema of a kind's status."""
    return {
        "type": "object",
        "description": "What the operator found; written by it alone.",
        "properties": {
            "observedGeneration": _count("The metadata.generation that the status tells of."),
            "conditions": _conditions(kind),
            **OWN_FIELDS[kind],
        },
    }


class PrinterColumn(NamedTuple):
    """A column of `kubectl get`; a wide one is shown with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


def _condition(type_: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{part}'


_READY = (
    PrinterColumn(
        "Ready", _condition("Ready", "status"), "Whether the object is in force everywhere."
    ),
    PrinterColumn("Reason", _condition("Ready", "reason"), "Why it is, or is not."),
)
_REST = (
    PrinterColumn("Message", _condition("Ready", "message"), "Why, and what to do.", wide=True),
    PrinterColumn("Age", ".metadata.creationTimestamp", "When the object was made.", type="date"),
)
COLUMNS: Mapping[Kind, tuple[PrinterColumn, ...]] = {
    Kind.DOMAIN: (
        PrinterColumn("Domain", ".spec.domain", "The mail domain."),
        *_READY,
        PrinterColumn(
            "Claimed",
            _condition("DomainClaimed", "status"),
            "Whether it takes the mail of other namespaces, too.",
        ),
        PrinterColumn(
            "DNS", _condition("DNSVerified", "status"), "Whether DNS has what it should have."
        ),
        PrinterColumn(
            "Route", ".spec.receive.route.hosts[0].host", "First host of its route.", wide=True
        ),
        PrinterColumn(
            "Relay", ".spec.send.relayRef.name", "Relay of its outgoing mail.", wide=True
        ),
        *_REST,
    ),
    Kind.RELAY: (
        PrinterColumn("Destinations", ".spec.destinations", "Recipient domains it is for."),
        PrinterColumn(
            "Smarthost", ".spec.smarthosts[0].host", "First smarthost; none delivers by MX."
        ),
        *_READY,
        PrinterColumn(
            "Reachable", _condition("Reachable", "status"), "Whether a smarthost answers."
        ),
        PrinterColumn("TLS", ".spec.tls.mode", "What TLS the next hop must offer.", wide=True),
        PrinterColumn("Pool", ".spec.egress.pool", "Egress pool that carries its mail.", wide=True),
        *_REST,
    ),
    Kind.QUOTA: (
        PrinterColumn("Subject", ".spec.subject", "Whom it counts."),
        PrinterColumn("Limit", ".status.usage[0].limit", "The limit that is used most."),
        PrinterColumn("Used", ".status.usage[0].used", "How much of it is used.", type="integer"),
        PrinterColumn("Max", ".status.usage[0].max", "How much it allows.", type="integer"),
        *_READY,
        PrinterColumn("Resets", ".status.usage[0].resetsAt", "When its window ends.", wide=True),
        PrinterColumn("On Exceeded", ".spec.onExceeded", "What happens at the limit.", wide=True),
        *_REST,
    ),
    Kind.CLIENT: (
        PrinterColumn("Class", ".spec.class", "Transactional or Bulk."),
        *_READY,
        PrinterColumn("Senders", ".spec.senders", "Addresses it may send as.", wide=True),
        PrinterColumn("Relay", ".spec.relayRef.name", "Relay of its mail.", wide=True),
        *_REST,
    ),
    Kind.DOMAIN_GRANT: (
        PrinterColumn("Domains", ".spec.domains", "Names that it gives."),
        PrinterColumn("Namespaces", ".spec.namespaces", "Namespaces that may have them."),
        *_READY,
        *_REST,
    ),
}
