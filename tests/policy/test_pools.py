"""Relays may name as many egress pools as replicated servers can bear, and the oldest have them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled, ConditionType
from postroad.manifests.objects import Kind, Reference
from postroad.policy import model as policy
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


def pools(outcome: Compiled) -> set[str]:
    """Return the pools of what is in force."""
    return {
        each.egress_path.pool for each in outcome.entries.values() if isinstance(each, policy.Relay)
    }


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


ALL_BUT_D = [relay("a", "default"), relay("b", "two"), relay("c", "three")]
BROKEN = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: b}
spec: {destinations: ["b.example"], mx: {}, egress: {pool: NO POOL}}
"""
UNFOUND = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: b}
spec:
  destinations: ["b.example"]
  smarthosts: [{host: m.example, auth: {secretRef: {name: gone}}}]
  egress: {pool: default}
"""


@pytest.mark.parametrize("wrong", [BROKEN, UNFOUND], ids=["invalid", "without its Secret"])
def test_a_last_good_form_keeps_its_pool_as_long_as_it_is_in_force(wrong: str) -> None:
    before = compiled(*ALL_BUT_D, layout=REPLICATED)
    edited = [relay("a", "default"), wrong, relay("c", "three")]
    outcome = compiled(*edited, relay("e", "four"), before=before, layout=REPLICATED)
    assert reasons(outcome, Kind.RELAY, "e") == ["TooManyPools", "TooManyPools"]
    assert pools(outcome) == {"default", "two", "three"}
    mended = [relay("a", "default"), relay("b", "four"), relay("c", "three")]
    outcome = compiled(*mended, relay("e", "four"), before=outcome, layout=REPLICATED)
    assert reasons(outcome, Kind.RELAY, "e") == []
    assert pools(outcome) == {"default", "three", "four"}


def test_the_pool_of_a_relay_that_could_not_be_listed_counts() -> None:
    before = compiled(*ALL_BUT_D, layout=REPLICATED)
    objects = objects_of(relay("a", "default"), relay("e", "four"), complete=False)
    outcome = compile_objects(
        objects, keyrings=KEYRINGS, last_good=before.entries, replicated=REPLICATED
    )
    assert reasons(outcome, Kind.RELAY, "e") == ["TooManyPools", "TooManyPools"]


def test_a_pool_that_all_its_relays_leave_at_once_makes_room() -> None:
    before = compiled(*THREE, layout=REPLICATED)
    renamed = [text.replace("two", "four") for text in THREE]
    outcome = compiled(*renamed, before=before, layout=REPLICATED)
    assert pools(outcome) == {"default", "three", "four"}


def test_an_older_relay_gets_its_new_pool_when_a_younger_one_has_left_its_own() -> None:
    before = compiled(*ALL_BUT_D, layout=REPLICATED)
    edited = [relay("a", "four"), relay("b", "two"), relay("c", "default"), relay("d", "five")]
    outcome = compiled(*edited, before=before, layout=REPLICATED)
    assert pools(outcome) == {"default", "two", "four"}
    assert reasons(outcome, Kind.RELAY, "d") == ["TooManyPools", "TooManyPools"]


wishes = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["p1", "p2", "p3", "p4", "p5", "NO"])),
    max_size=6,
    unique_by=lambda each: each[0],
)


@given(first=wishes, then=wishes)
def test_whatever_is_edited_the_servers_bear_what_is_in_force(
    first: list[tuple[str, str]], then: list[tuple[str, str]]
) -> None:
    before = compiled(*itertools.starmap(relay, first), layout=REPLICATED)
    texts = [*itertools.starmap(relay, then)]
    outcome = compiled(*texts, before=before, layout=REPLICATED)
    for each in (before, outcome):
        assert REPLICATED.consumers(len({"default", *pools(each)})) <= 1000
    again = compiled(*texts, before=outcome, layout=REPLICATED)
    assert (again.entries, again.conditions) == (outcome.entries, outcome.conditions)


def test_one_server_bears_any_number_of_pools() -> None:
    texts = [relay(f"r{number}", f"p{number}") for number in range(20)]
    outcome = compiled(*texts, layout=None)
    assert [reasons(outcome, Kind.RELAY, f"r{number}") for number in range(20)] == [[]] * 20


def test_a_pool_of_the_platform_has_room_whatever_names_tenants_invent() -> None:
    """The oldest Relays had all pools, so a tenant could keep others from those with processes."""
    texts = [relay("a", "mine"), relay("b", "mine-too"), relay("c", "bulk"), relay("d", "bulk")]
    objects = objects_of(*texts)
    outcome = compile_objects(objects, keyrings=KEYRINGS, replicated=REPLICATED, pools=["bulk"])
    assert pools(outcome) == {"mine", "bulk"}
    assert reasons(outcome, Kind.RELAY, "b") == ["TooManyPools", "TooManyPools"]
    for name in "acd":
        assert reasons(outcome, Kind.RELAY, name) == []
