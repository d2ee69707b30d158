"""Relays may name as many egress pools as replicated servers can bear, and the oldest have them."""

from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled, ConditionType
from postroad.manifests.objects import Kind, Reference
from postroad.policy.model import ObjectKey
from postroad.spool.lanes.layout import Layout
from postroad_harness.compiling import KEYRINGS, objects_of, reasons

RELAY = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: {name}}}
spec: {{destinations: ["{name}.example"], mx: {{}}, egress: {{pool: {pool}}}}}
"""


def relay(name: str, pool: str) -> str:
    return RELAY.format(name=name, pool=pool)


THREE = [relay("a", "default"), relay("b", "two"), relay("c", "three"), relay("d", "two")]
REPLICATED = Layout(shards=3, lanes=32, replicas=3)


def compiled(*texts: str, before: Compiled | None = None, layout: Layout | None) -> Compiled:
    known = before.entries if before else {}
    return compile_objects(
        objects_of(*texts), keyrings=KEYRINGS, last_good=known, replicated=layout
    )


def test_one_pool_too_many_is_refused_with_the_numbers_and_no_other() -> None:
    outcome = compiled(*THREE, relay("e", "four"), relay("f", "three"), layout=REPLICATED)
    assert reasons(outcome, Kind.RELAY, "e") == ["TooManyPools", "TooManyPools"]
    conditions = outcome.conditions[Reference(Kind.RELAY, ObjectKey("default", "e"))]
    [accepted] = [each for each in conditions if each.type is ConditionType.ACCEPTED]
    assert "1152 consumers for 4 pools, and at most 1000" in accepted.message
    assert accepted.path == ("spec", "egress", "pool")
    for name in "abcdf":
        assert reasons(outcome, Kind.RELAY, name) == []


def test_what_was_in_force_stays_when_its_pool_is_one_too_many() -> None:
    before = compiled(*THREE, relay("e", "four"), layout=None)
    outcome = compiled(*THREE, relay("e", "four"), before=before, layout=REPLICATED)
    assert reasons(outcome, Kind.RELAY, "e") == ["Stale", "TooManyPools"]
    assert outcome.entries == before.entries


def test_one_server_bears_any_number_of_pools() -> None:
    texts = [relay(f"r{number}", f"p{number}") for number in range(20)]
    outcome = compiled(*texts, layout=None)
    assert [reasons(outcome, Kind.RELAY, f"r{number}") for number in range(20)] == [[]] * 20
