"""Published states become snapshots; an unreadable entry does not affect the others."""

from dataclasses import replace

from postroad.policy.codec import encode_entry
from postroad.policy.model import Client, Domain, ObjectKey
from postroad.policy.snapshot import SnapshotLoader
from postroad.testing.keys import keyrings

RINGS = keyrings()
A = Domain(ObjectKey("x", "a"), "a.example")
B = Domain(ObjectKey("x", "b"), "b.example")
C = Client(ObjectKey("x", "c"), username="u")


def published(*entries: Domain | Client) -> dict[str, bytes]:
    keys = {f"{type(each).__name__.lower()}.x.{each.key.name}": each for each in entries}
    return {key: encode_entry(key, each, RINGS) for key, each in keys.items()}


def test_a_state_is_indexed_and_its_changes_told() -> None:
    loader = SnapshotLoader(RINGS)
    first = loader.load(1, published(A, C))
    assert first.snapshot.generation == 1
    assert first.snapshot.domains == {"a.example": A}
    assert first.snapshot.clients_by_username == {"u": C, "x/u": C}
    assert not first.snapshot.stale
    assert (first.added, first.changed, first.removed) == (("client.x.c", "domain.x.a"), (), ())

    second = loader.load(2, published(replace(A, sends=True), B))
    assert (second.added, second.changed, second.removed) == (
        ("domain.x.b",),
        ("domain.x.a",),
        ("client.x.c",),
    )
    assert second.snapshot.domains["a.example"].sends


def test_an_unreadable_entry_keeps_what_it_was_and_makes_the_snapshot_stale() -> None:
    loader = SnapshotLoader(RINGS)
    loader.load(1, published(A))
    broken = published(A, B) | {"domain.x.a": b"{", "policy.x.p": b"{}"}
    loaded = loader.load(2, broken)
    assert set(loaded.snapshot.domains) == {"a.example", "b.example"}
    assert set(loaded.unreadable) == {"domain.x.a", "policy.x.p"}
    assert loaded.snapshot.stale

    mended = loader.load(3, published(replace(A, sends=True), B))
    assert mended.snapshot.domains["a.example"].sends
    assert not mended.snapshot.stale


def test_an_entry_that_is_back_as_it_was_is_read_again() -> None:
    loader = SnapshotLoader(RINGS)
    loader.load(1, published(A))
    loader.load(2, {"domain.x.a": b"{"})
    loaded = loader.load(3, published(A))
    assert loaded.snapshot.domains == {"a.example": A}
    assert loaded.unreadable == {}


def test_what_did_not_change_is_not_read_again() -> None:
    loader = SnapshotLoader(RINGS)
    before = loader.load(1, published(A, B)).snapshot.domains["a.example"]
    after = loader.load(2, published(A, replace(B, sends=True))).snapshot.domains["a.example"]
    assert after is before
