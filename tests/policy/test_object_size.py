"""Objects too large for the queue: refused by name, while all others are published."""

from dataclasses import replace

import pytest

from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Reason
from postroad.manifests.objects import Kind, Reference
from postroad.policy.codec import encode_entry
from postroad.policy.model import ObjectKey
from postroad_harness.compiling import KEYRINGS, compiled, objects_of, reasons

RELAY = "kind: Relay\nmetadata: {name: out}\nspec: {mx: {}}"
LISTING = """\
kind: Domain
metadata: {{name: {0}, namespace: x}}
spec:
  domain: {0}.example
  allowedNamespaces: {{from: Selector, selector: {{matchLabels: {{sends: "yes"}}}}}}
  receive:
    route: {{hosts: [{{host: real.example}}]}}
    recipients: {{mode: List, addresses: [{1}]}}"""


def listing(name: str, octets: int, char: str = "x") -> str:
    """Return a Domain whose list of recipients is about so many octets of UTF-8."""
    each = char * (200 // len(char.encode()))
    numbers = range(octets // 213)
    return LISTING.format(name, ", ".join(f"'{n:05}{each}@{name}.example'" for n in numbers))


@pytest.mark.parametrize(
    "large",
    [listing("a", 2_100_000), listing("a", 1_200_000, "邮")],
    ids=["long", "encoded"],
)
def test_what_the_queue_would_not_store_is_refused_and_all_else_applies(large: str) -> None:
    small = compiled(listing("a", 2000))
    outcome = compiled(large, listing("b", 1_500_000), RELAY, last_good=small)
    assert reasons(outcome, Kind.DOMAIN, "a", "x") == ["Stale", "TooLarge"]
    [told] = [
        each
        for each in outcome.conditions[Reference(Kind.DOMAIN, ObjectKey("x", "a"))]
        if each.reason is Reason.TOO_LARGE
    ]
    assert told.path == ("spec", "receive", "recipients", "addresses")
    assert outcome.entries["domain.x.a"] == small.entries["domain.x.a"]
    assert list(outcome.entries) == ["domain.x.a", "domain.x.b", "relay.default.out"]
    assert reasons(compiled(large), Kind.DOMAIN, "a", "x") == ["TooLarge", "TooLarge"]
    assert not compiled(large).entries
    assert not reasons(compiled(listing("a", 1000), last_good=outcome), Kind.DOMAIN, "a", "x")


def test_an_object_is_measured_as_it_is_stored() -> None:
    objects = objects_of(listing("a", 300_000))
    [entry] = compile_objects(objects, keyrings=KEYRINGS).entries.values()
    size = len(encode_entry("domain.x.a", entry, KEYRINGS))
    for bound, fits in ((size, True), (size - 1, False)):
        outcome = compile_objects(objects, keyrings=KEYRINGS, largest_entry=bound)
        assert bool(outcome.entries) == fits


def test_an_object_that_grows_too_large_by_what_it_admits_stays_as_it_was() -> None:
    """Nobody edits it: namespaces are made, and its selector admits them."""
    one = "kind: Namespace\nmetadata: {name: %s, labels: {sends: 'yes'}}"
    small = compiled(listing("a", 1000), one % "shop")
    grown = objects_of(listing("a", 1000))
    spaces = {f"n{number:06}" + "x" * 56: {"sends": "yes"} for number in range(32_000)}
    outcome = compile_objects(
        replace(grown, namespaces=spaces), keyrings=KEYRINGS, last_good=small.entries
    )
    assert reasons(outcome, Kind.DOMAIN, "a", "x") == ["Stale", "TooLarge"]
    assert outcome.entries == small.entries
