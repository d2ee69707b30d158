"""The store of declared objects stays right in whatever order lists and events come."""

import base64
from typing import Any

from postroad.manifests.objects import Kind, LoginSecret, Reference
from postroad.operator.cache.store import Store
from postroad.policy.model import ObjectKey

A = Reference(Kind.RELAY, ObjectKey("shop", "a"))


def relay(
    name: str = "a", *, version: int, uid: str = "1", generation: int = 1, secret: str = ""
) -> dict[str, Any]:
    spec: dict[str, Any] = {"mx": {}}
    if secret:
        spec = {"smarthosts": [{"host": "h.example"}], "auth": {"secretRef": {"name": secret}}}
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": f"{name}-{uid}",
        "resourceVersion": str(version),
        "generation": generation,
    }
    return {"metadata": metadata, "spec": spec, "status": {"observedGeneration": generation}}


def listed(store: Store, *found: dict[str, Any]) -> bool:
    listing = store.begin_listing(Kind.RELAY)
    for raw in found:
        store.add(listing, raw)
    return store.end_listing(listing)


def names(store: Store) -> list[str]:
    return sorted(reference.key.name for reference in store.objects)


def test_it_is_complete_when_every_kind_was_listed() -> None:
    store = Store()
    for kind in Kind:
        assert not store.complete
        store.listed(kind)
    assert not store.complete
    assert store.listed("Namespace")
    assert store.complete
    assert store.snapshot().complete


def test_a_status_is_no_change_of_what_is_declared() -> None:
    store = Store()
    assert store.event(Kind.RELAY, relay(version=1), deleted=False)
    before = store.objects[A].declared
    assert not store.event(Kind.RELAY, relay(version=2), deleted=False)
    assert store.objects[A].declared is before
    assert store.objects[A].version == "2"


def test_an_older_event_changes_nothing() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=5, generation=2), deleted=False)
    assert not store.event(Kind.RELAY, relay(version=4, generation=1), deleted=False)
    assert store.objects[A].declared.generation == 2


def test_what_a_list_lacks_is_gone_unless_it_came_meanwhile() -> None:
    store = Store()
    listed(store, relay("a", version=1), relay("b", version=2))
    listing = store.begin_listing(Kind.RELAY)
    store.add(listing, relay("a", version=1))
    store.event(Kind.RELAY, relay("c", version=3), deleted=False)
    assert store.end_listing(listing)
    assert names(store) == ["a", "c"]


def test_what_was_deleted_while_a_list_was_read_does_not_come_back() -> None:
    store = Store()
    listing = store.begin_listing(Kind.RELAY)
    store.add(listing, relay("a", version=1))
    store.event(Kind.RELAY, relay("a", version=2), deleted=True)
    store.end_listing(listing)
    assert names(store) == []


def test_an_object_made_anew_under_its_name_is_another() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=1, uid="1"), deleted=False)
    store.event(Kind.RELAY, relay(version=3, uid="2"), deleted=False)
    assert not store.event(Kind.RELAY, relay(version=2, uid="1"), deleted=True)
    assert store.objects[A].uid == "a-2"


def test_a_list_of_one_namespace_says_nothing_about_others() -> None:
    store = Store()
    listed(store, relay("a", version=1))
    listing = store.begin_listing(Kind.RELAY)
    store.end_listing(listing, ["other"])
    assert names(store) == ["a"]


FOR_LOGINS = {"postroad.dev/secret-type": "login"}


def secret(**values: str) -> dict[str, Any]:
    data = {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}
    metadata = {"name": "login", "namespace": "shop", "labels": FOR_LOGINS}
    return {"metadata": metadata, "data": data}


LOGIN = ObjectKey("shop", "login")


def test_only_what_is_needed_of_a_secret_is_kept_and_only_while_it_is_named() -> None:
    store = Store()
    assert not store.secrets.event(LOGIN, secret(username="u"), deleted=False)
    assert store.snapshot().secrets == {}
    store.event(Kind.RELAY, relay(version=1, secret="login"), deleted=False)
    # It came before its object, so it has to be asked for.
    assert store.secrets.missing() == [LOGIN]
    assert store.secrets.event(LOGIN, secret(username="u", password="p", other="x"), deleted=False)
    assert store.snapshot().secrets == {
        LOGIN: LoginSecret({"username": b"u", "password": b"p"}, opted_in=True)
    }
    assert store.secrets.missing() == []
    assert not store.secrets.event(LOGIN, secret(username="u", password="p"), deleted=False)
    assert store.secrets.read(LOGIN, None, asked=store.now)
    assert store.snapshot().secrets == {}
    store.event(Kind.RELAY, relay(version=2, generation=2), deleted=False)
    assert store.secrets.missing() == []


def test_a_late_word_of_an_object_that_had_the_name_before_changes_nothing() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=9, uid="2"), deleted=False)
    assert not store.event(Kind.RELAY, relay(version=3, uid="1"), deleted=False)
    assert not store.event(Kind.RELAY, relay(version=4, uid="1"), deleted=True)
    assert store.objects[A].uid == "a-2"


def login(version: int) -> dict[str, Any]:
    made = secret(username="a")
    made["metadata"]["resourceVersion"] = str(version)
    return made


def test_a_secret_that_came_while_it_was_asked_for_is_not_taken_for_missing() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=1, secret="login"), deleted=False)
    asked = store.now
    assert store.secrets.event(LOGIN, login(5), deleted=False)
    assert not store.secrets.read(LOGIN, None, asked=asked)
    assert store.snapshot().secrets == {LOGIN: LoginSecret({"username": b"a"}, opted_in=True)}
    assert store.secrets.read(LOGIN, None, asked=store.now)
    assert store.snapshot().secrets == {}


def test_a_secret_that_was_made_anew_is_not_deleted_by_a_late_word() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=1, secret="login"), deleted=False)
    assert store.secrets.event(LOGIN, login(5), deleted=False)
    assert not store.secrets.event(LOGIN, login(4), deleted=True)
    assert LOGIN in store.snapshot().secrets


def test_of_a_secret_that_nobody_opted_in_no_value_is_kept() -> None:
    store = Store()
    store.event(Kind.RELAY, relay(version=1, secret="login"), deleted=False)
    unlabelled = secret(username="u", password="p")
    unlabelled["metadata"]["labels"] = {"app": "database"}
    assert store.secrets.read(LOGIN, unlabelled, asked=store.now)
    assert store.snapshot().secrets == {LOGIN: LoginSecret({}, opted_in=False)}


def test_a_secret_that_the_watch_tells_gone_is_asked_for() -> None:
    """It may only have lost its label, and its object's status should say so."""
    store = Store()
    store.event(Kind.RELAY, relay(version=1, secret="login"), deleted=False)
    assert store.secrets.event(LOGIN, login(5), deleted=False)
    assert store.secrets.event(LOGIN, login(6), deleted=True)
    assert store.secrets.missing() == [LOGIN]
    assert store.snapshot().secrets == {}


def namespace(name: str, version: int, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "labels": labels}}


def test_namespaces_that_came_while_they_were_listed_stay() -> None:
    store = Store()
    store.namespaces.event(namespace("old", 1), deleted=False)
    asked = store.now
    store.namespaces.event(namespace("new", 2, team="a"), deleted=False)
    store.namespaces.event(namespace("labelled", 3, team="a"), deleted=False)
    found = [namespace("labelled", 1), namespace("listed", 1)]
    assert store.namespaces.listed(found, asked=asked)
    assert store.namespaces.labels == {
        "new": {"team": "a"},
        "labelled": {"team": "a"},
        "listed": {},
    }
    assert store.namespaces.listed([namespace("listed", 1)], asked=store.now)
    assert store.namespaces.labels == {"listed": {}}
