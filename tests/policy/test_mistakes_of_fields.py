"""Mistakes in an object's fields: reported with their line, field and what to do."""

from pathlib import Path

import pytest

from postroad_harness.mistakes import HEAD, mistakes_of

# kind, spec (line 5 is its first), the mistake without `m.yaml:`
FIELDS = [
    ("Relay", "  mx: {}\n  egres: {}", "6: spec.egres: is not a field here; did you mean egress?"),
    (
        "Relay",
        "  mx: {}\n  limits:\n    connectons: 3",
        "7: spec.limits.connectons: is not a field here; did you mean connections?",
    ),
    (
        "Relay",
        "  mx: {fast: true}",
        "5: spec.mx.fast: is not a field here",
    ),
    (
        "Relay",
        "  tls: {mode: Required}",
        "4: spec: names no next hop; add mx: {} to deliver to MX hosts, or smarthosts",
    ),
    (
        "Relay",
        "  mx: {}\n  smarthosts: [{host: a.example}]",
        "6: spec.smarthosts: cannot go with mx; keep one of the two",
    ),
    (
        "Relay",
        "  mx: {}\n  auth: {secretRef: {name: s}}",
        "6: spec.auth: goes with smarthosts only; MX hosts take no login",
    ),
    (
        "Relay",
        "  mx: {}\n  tls: {implicit: true}",
        "6: spec.tls.implicit: goes with smarthosts only; MX hosts use STARTTLS",
    ),
    (
        "Relay",
        "  mx: {}\n  tls: {implicit: 'yes'}",
        "6: spec.tls.implicit: must be true or false, not 'yes'",
    ),
    (
        "Relay",
        "  smarthosts:\n  - host: a.example\n  - host: a.example",
        "7: spec.smarthosts[1].host: a.example:25 is listed twice",
    ),
    (
        "Relay",
        "  smarthosts:\n  - {host: a.example, port: 465}\n  - {host: b.example, port: 587}",
        "5: spec.smarthosts: port 465 speaks TLS from the first byte and the other ports do not;"
        " list only one sort of port",
    ),
    (
        "Relay",
        "  smarthosts: [{host: a.example, port: 465}]\n  tls: {mode: None}",
        "6: spec.tls.mode: None contradicts TLS from the first byte (port 465 or tls.implicit)",
    ),
    (
        "Relay",
        "  smarthosts: [{host: a.example}]\n  auth: {secretRef: {name: s}}\n  tls: {mode: None}",
        "7: spec.tls.mode: None would send the password in the clear; use Required or Verified",
    ),
    (
        "Relay",
        "  smarthosts:\n  - {host: a.example, auth: {secretRef: {name: s}}}\n  - {host: b.example}",
        "5: spec.smarthosts: several logins in one Relay are not supported yet;"
        " use one Secret for all smarthosts, or a Relay for each",
    ),
    (
        "Relay",
        "  smarthosts: [{host: 'a.example:25'}]",
        "5: spec.smarthosts[0].host: 'a.example:25' is not a host; the port goes into the field"
        " port",
    ),
    (
        "Relay",
        "  smarthosts: [{host: a.example, port: '25'}]",
        "5: spec.smarthosts[0].port: must be a whole number, not '25'",
    ),
    (
        "Relay",
        "  smarthosts: [{host: a.example, port: 70000}]",
        "5: spec.smarthosts[0].port: must be at most 65535, not 70000",
    ),
    ("Relay", "  smarthosts: a.example", "5: spec.smarthosts: must be a list, not 'a.example'"),
    ("Relay", "  mx: yes please", "5: spec.mx: must be a mapping, not 'yes please'"),
    (
        "Relay",
        "  mx: {}\n  destinations: [a.example, 'b*.example']",
        "6: spec.destinations[1]: 'b*.example' has a * inside; write example.com, *.example.com"
        " or * alone",
    ),
    (
        "Relay",
        "  mx: {}\n  destinations: []",
        "6: spec.destinations: must have at least 1 entry",
    ),
    (
        "Relay",
        "  mx: {}\n  tls: {mode: DANE}",
        "6: spec.tls.mode: DANE is not supported yet; use Verified, or Opportunistic to MX hosts",
    ),
    (
        "Relay",
        "  mx: {}\n  tls: {mode: Often}",
        "6: spec.tls.mode: must be one of None, Opportunistic, Required, Verified, not 'Often'",
    ),
    (
        "Relay",
        "  mx: {}\n  egress: {proxy: socks.example}",
        "6: spec.egress.proxy: is not supported yet; remove it (connections are made directly)",
    ),
    (
        "Relay",
        "  mx: {}\n  egress:\n    sources:\n    - {name: a, address: 192.0.2.300}",
        "8: spec.egress.sources[0].address: '192.0.2.300' is not an IP address; write 192.0.2.10",
    ),
    *(
        (
            "Relay",
            f"  mx: {{}}\n  egress:\n    sources:\n    - {{name: a, address: '{address}'}}",
            f"8: spec.egress.sources[0].address: '{address}' is not the address of one machine;"
            " write 192.0.2.10",
        )
        for address in ("0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1")
    ),
    (
        "Relay",
        "  mx: {}\n  egress: {sources: [{name: a}, {name: a}]}",
        "6: spec.egress.sources[1].name: a is the name of two sources",
    ),
    (
        "Relay",
        "  mx: {}\n  retry:\n    first: 15",
        "7: spec.retry.first: must be a duration such as 15m, not 15",
    ),
    (
        "Relay",
        "  mx: {}\n  retry:\n    first: 15 min",
        "7: spec.retry.first: '15 min' is not a duration; write it like 30s, 15m, 1h30m or 5d",
    ),
    (
        "Relay",
        "  mx: {}\n  retry:\n    first: 1ms",
        "7: spec.retry.first: must be from 1s to 1d, not 1ms",
    ),
    (
        "Relay",
        "  mx: {}\n  retry:\n    max: 5m",
        "7: spec.retry.max: max (5m) is less than first (15m); raise max or lower first",
    ),
    (
        "Relay",
        "  mx: {}\n  retry: {factor: 0.5}",
        "6: spec.retry.factor: must be at least 1.0, not 0.5",
    ),
    (
        "Relay",
        "  mx: {}\n  limits: {messageRate: 100}",
        "6: spec.limits.messageRate: must be a rate such as 1000/1m, not 100",
    ),
    (
        "Relay",
        "  mx: {}\n  limits: {messageRate: 0/1m}",
        "6: spec.limits.messageRate: '0/1m' would let nothing through; write it like 1000/1m",
    ),
    (
        "Relay",
        "  mx: {}\n  allowedNamespaces: {from: Selector}",
        "6: spec.allowedNamespaces.selector: is required with from: Selector",
    ),
    (
        "Relay",
        "  mx: {}\n  allowedNamespaces: {from: All, selector: {}}",
        "6: spec.allowedNamespaces.selector: has no meaning with from: All; remove it",
    ),
    (
        "Relay",
        "  mx: {}\n  allowedNamespaces:\n    from: Selector\n    selector:\n"
        "      matchExpressions: [{key: a, operator: In}]",
        "9: spec.allowedNamespaces.selector.matchExpressions[0].values:"
        " operator In needs at least one value",
    ),
    ("Domain", "  send: {}", "4: spec.domain: is required"),
    (
        "Domain",
        "  domain: example.com",
        "4: spec: neither receives nor sends; add receive, or send: {}",
    ),
    (
        "Domain",
        "  domain: '*.example.com'\n  send: {}",
        "5: spec.domain: '*.example.com' is not a domain name: domain has a character or label that"
        " is not allowed",
    ),
    (
        "Domain",
        "  domain: '[192.0.2.1]'\n  send: {}",
        "5: spec.domain: '[192.0.2.1]' is an address literal; write a domain name",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: []}",
        "7: spec.receive.route.hosts: must have at least 1 entry",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive: {recipients: {mode: Any}}",
        "6: spec.receive.route: is required",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b, port: 465}], tls: None}",
        "7: spec.receive.route.tls: None contradicts port 465, which is TLS from the first byte",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b}]}\n"
        "    recipients: {mode: List}",
        "8: spec.receive.recipients.addresses: is required with mode: List; name who takes mail",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b}]}\n"
        "    recipients: {mode: List, addresses: [info@b.example]}",
        "8: spec.receive.recipients.addresses[0]: info@b.example is not an address of a.example;"
        " a Domain lists its own",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b}]}\n"
        "    recipients: {mode: Callout}",
        "8: spec.receive.recipients.mode: Callout is not supported yet; use List or Any",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b}]}\n    mode: Inline",
        "8: spec.receive.mode: Inline is not supported yet; use Queued",
    ),
    (
        "Domain",
        "  domain: a.example\n  receive:\n    route: {hosts: [{host: b}]}\n"
        "    authentication: {spf: Enforce}",
        "8: spec.receive.authentication: is not supported yet; remove it (SPF, DKIM, DMARC and ARC"
        " are left to the real server)",
    ),
    (
        "Domain",
        "  domain: a.example\n  send:\n    dkim: []",
        "7: spec.send.dkim: is not supported yet; remove it (sign before this relay, or at the"
        " smarthost)",
    ),
    (
        "Quota",
        "  subject: {}\n  limits: [{messages: 1, per: 1h}]",
        "5: spec.subject: must have exactly one of namespace, client, senderDomain, sender,"
        " clientNetwork; it has none",
    ),
    (
        "Quota",
        "  subject: {namespace: a, client: b}\n  limits: [{messages: 1, per: 1h}]",
        "5: spec.subject: must have exactly one of namespace, client, senderDomain, sender,"
        " clientNetwork; it has 2",
    ),
    (
        "Quota",
        "  subject: {namespace: a}\n  limits:\n  - {messages: 1, bytes: 1, per: 1h}",
        "7: spec.limits[0]: must have exactly one of messages, recipients, bytes; it has 2",
    ),
    (
        "Quota",
        "  subject: {namespace: a}\n  limits: [{bytes: 10GB, per: 1h}]",
        "6: spec.limits[0].bytes: '10GB' is not a size; write it like 1048576, 500M or 10Gi",
    ),
    (
        "Quota",
        "  subject: {namespace: a}\n  limits: [{messages: -1, per: 1h}]",
        "6: spec.limits[0].messages: must be at least 0, not -1",
    ),
    (
        "Quota",
        "  subject: {namespace: a}\n  limits: [{messages: 1, per: 1500ms}]",
        "6: spec.limits[0].per: must be in whole seconds",
    ),
    (
        "Quota",
        "  subject: {namespace: a}\n  limits:\n  - {messages: 1, per: 1h}\n"
        "  - {messages: 2, per: 60m}",
        "8: spec.limits[1].messages: messages are limited twice for one window; keep the lower"
        " limit",
    ),
    (
        "Client",
        "  senders: ['*']",
        "4: spec: has no way to identify the client; add auth or networks",
    ),
    (
        "Client",
        "  networks: [10.0.0.0/8]",
        "4: spec.senders: is required",
    ),
    (
        "Client",
        "  networks: [10.0.0.1/8]\n  senders: ['*']",
        "5: spec.networks[0]: '10.0.0.1/8' has bits set after its prefix; write 10.0.0.0/8",
    ),
    (
        "Client",
        "  networks: [local]\n  senders: ['*']",
        "5: spec.networks[0]: 'local' is not a network; write 10.20.0.0/16, 192.0.2.7 or"
        " 2001:db8::/32",
    ),
    (
        "Client",
        "  networks: [10.0.0.0/8]\n  senders:\n  - '*'\n  - example.com",
        "8: spec.senders[1]: 'example.com' is not an address pattern; write info@example.com,"
        " *@example.com or *",
    ),
    (
        "Client",
        "  networks: [10.0.0.0/8]\n  senders: ['*']\n  certificate: {dnsNames: [a]}",
        "7: spec.certificate: is not supported yet; remove it (prove the client by auth or"
        " networks)",
    ),
    (
        "Client",
        "  networks: [10.0.0.0/8]\n  senders: ['*']\n  class: bulk",
        "7: spec.class: must be one of Transactional, Bulk, not 'bulk'",
    ),
    (
        "Client",
        "  auth: {secretRef: {name: My_Secret}}\n  senders: ['*']",
        "5: spec.auth.secretRef.name: 'My_Secret' is not a name; use lower-case letters, digits"
        " and -",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "expected"), FIELDS)
def test_a_wrong_field_is_told_where_it_stands(
    kind: str, spec: str, expected: str, tmp_path: Path
) -> None:
    (mistake,) = mistakes_of(HEAD.format(kind=kind) + spec + "\n", tmp_path)
    assert mistake.startswith(f"m.yaml:{expected}")


def test_every_mistake_of_an_object_is_told_at_once(tmp_path: Path) -> None:
    spec = "  mx: {}\n  destinations: ['']\n  limits: {connections: 0}\n  retry: {first: soon}\n"
    mistakes = mistakes_of(HEAD.format(kind="Relay") + spec, tmp_path)
    assert [mistake.split(": ")[1] for mistake in mistakes] == [
        "spec.destinations[0]",
        "spec.limits.connections",
        "spec.retry.first",
    ]
