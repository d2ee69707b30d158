"""Verifiers are made once for each password, and old ones stay valid."""

import secrets
from pathlib import Path

import pytest

from postroad.cli.standalone.manifests import FollowedManifests
from postroad.policy.model import Client, Credentials, ObjectKey
from postroad.policy.secrets import verifiers
from postroad.policy.secrets.scram import (
    ITERATIONS,
    make_verifier,
    matches_salt,
    password_matches,
    salt_of,
)
from postroad.policy.secrets.seal import ClusterKey, Keyring, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.spool.memory.spool import MemoryCluster, MemorySpool

OLD, NEW = ClusterKey(b"o" * 32), ClusterKey(b"n" * 32)
RING = Keyring([NEW])
KEY = ObjectKey("default", "shop")
LOGIN = Credentials("shop", "correct horse")
MANIFEST = """\
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {username: shop, password: correct horse battery}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: shop}
spec: {auth: {secretRef: {name: shop}}, senders: ["*@shop.example"]}
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the passwords that are hashed, in few rounds."""
    passwords: list[str] = []

    def noted(password: str, *, salt: bytes, iterations: int) -> object:
        passwords.append(password)
        return make_verifier(password, salt=salt, iterations=iterations)

    monkeypatch.setattr(verifiers, "make_verifier", noted)
    return passwords


def client(keyring: Keyring, iterations: int = 10, password: str = "correct horse") -> Client:
    salt = salt_of(keyring, KEY, "shop", password)
    return Client(KEY, "shop", make_verifier(password, salt=salt, iterations=iterations))


def test_what_is_published_is_not_hashed_again(made: list[str]) -> None:
    published = client(RING, iterations=10)
    known = Verifiers(RING, published=[published], iterations=10)
    assert known.of(KEY, LOGIN) == published.verifier
    assert made == []


def test_a_new_password_is_hashed_once(made: list[str]) -> None:
    known = Verifiers(RING, published=[client(RING)], iterations=10)
    for _ in range(3):
        verifier = known.of(KEY, Credentials("shop", "battery staple"))
        assert verifier is not None
        assert password_matches(verifier, "battery staple")
    assert made == ["battery staple"]


def test_fewer_rounds_are_made_anew_and_work_until_then() -> None:
    published = client(RING, iterations=10)
    assert published.verifier is not None
    assert password_matches(published.verifier, "correct horse")
    anew = Verifiers(RING, published=[published]).of(KEY, LOGIN)
    assert anew is not None
    assert anew.iterations == ITERATIONS >= 100_000
    assert password_matches(anew, "correct horse")


def test_a_right_password_is_told_by_its_salt_while_keys_are_exchanged() -> None:
    sealed_before = client(Keyring([OLD]))
    assert matches_salt(sealed_before, "correct horse", Keyring([NEW, OLD]))
    assert not matches_salt(sealed_before, "correct horse", Keyring([NEW]))
    assert not matches_salt(sealed_before, "Correct horse", Keyring([NEW, OLD]))


def test_a_salt_of_another_origin_tells_nothing() -> None:
    elsewhere = Client(KEY, "shop", make_verifier("p", salt=secrets.token_bytes(16), iterations=10))
    assert not matches_salt(elsewhere, "p", RING)
    assert not matches_salt(Client(KEY), "p", RING)


async def test_a_second_start_hashes_nothing(tmp_path: Path, made: list[str]) -> None:
    (tmp_path / "client.yaml").write_text(MANIFEST)
    cluster = MemoryCluster()
    for _ in range(2):
        await FollowedManifests(
            [tmp_path], MemorySpool(cluster), dict.fromkeys(Reader, RING)
        ).publish_first()
    assert made == ["correct horse battery"]
