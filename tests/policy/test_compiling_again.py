"""Compiling the same objects again, on top of what was published, changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from postroad.manifests.compiler.claims import OF_FILES, ClaimKey, Claims, Evidence
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Objects
from postroad.policy.model import ClaimBasis, Client, Domain, Entry
from postroad.policy.secrets.seal import Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.spool.wire.payload import LARGEST_VALUE
from postroad_harness.compiling import KEYRINGS, objects_from

Manifest = dict[str, object]

# The release is in namespace mail. Two objects of a kind are in namespace shop.
SPACES = ("shop", "shop", "work", "mail")
NAMES = ("a.example", "b.example")
USERNAMES = ("u", "v", "shop/u", "work/u", "u@a.example")
SENDERS = (["*"], ["*@a.example"], ["*@a.example", "*@b.example"])
RELAYS = ({"name": "out"}, {"name": "out", "namespace": "shop"}, {"name": "typo"})
EVIDENCE = (
    Evidence(ClaimBasis.NONE),
    Evidence(ClaimBasis.MX),
    Evidence(ClaimBasis.TXT),
    Evidence(ClaimBasis.TXT, certain=False),
    Evidence(ClaimBasis.TXT, certain=False, denied=True),
)
LARGEST = (LARGEST_VALUE, LARGEST_VALUE, 600, 420)  # the small ones are too small for some


@dataclass(frozen=True)
class World:
    """What is declared at one time, and what it is judged by."""

    objects: Objects
    claims: Claims
    largest: int

    def compiled(self, published: Mapping[str, Entry]) -> Compiled:
        # One round of hashing, so that thousands of compilations take seconds.
        keyring = KEYRINGS[Reader.INGRESS]
        return compile_objects(
            self.objects,
            keyrings=KEYRINGS,
            last_good=published,
            verifiers=Verifiers(keyring, published=published.values(), iterations=1),
            largest_entry=self.largest,
            claims=self.claims,
        )


def often(dice: Random, *, of: int = 4) -> bool:
    return dice.randrange(of) > 0


def manifest(kind: str, index: int, days: Sequence[int], spec: Manifest, dice: Random) -> Manifest:
    """Return a manifest, now and then with a mistake; `days` has the ages of a kind's objects."""
    if not often(dice, of=5):
        spec = {**spec, "mistake": 1}
    age = f"2026-01-{days[index] + 1:02}T00:00:00Z"
    space = "mail" if kind == "DomainGrant" else SPACES[index]
    name = "out" if kind == "Relay" else f"n{index}"
    metadata = {"name": name, "namespace": space, "creationTimestamp": age}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def relay_of(dice: Random) -> Manifest:
    reference = dice.choice((None, *RELAYS))
    return {"relayRef": reference} if reference else {}


def admits(dice: Random) -> Manifest:
    return {"allowedNamespaces": {"from": dice.choice(("All", "Same"))}}


def relay(dice: Random) -> Manifest:
    return {"mx": {}, **admits(dice)}


def domain(dice: Random) -> Manifest:
    spec = {"domain": dice.choice(NAMES), "send": relay_of(dice), **admits(dice)}
    if often(dice):
        hosts = [{"host": dice.choice(("one.example", "two.example"))}]
        spec["receive"] = {"route": {"hosts": hosts}, "recipients": {"mode": "Any"}}
    return spec


def client(index: int, dice: Random) -> Manifest:
    auth = {"auth": {"secretRef": {"name": f"n{index}"}}}
    return {**auth, "senders": dice.choice(SENDERS), **relay_of(dice)}


def secret(index: int, dice: Random) -> Manifest:
    login = {"username": dice.choice(USERNAMES), "password": "p"}
    metadata = {"name": f"n{index}", "namespace": SPACES[index]}
    return {"kind": "Secret", "metadata": metadata, "stringData": login}


def grant(dice: Random) -> Manifest:
    space = dice.choice(("shop", "work"))
    return {"domains": [dice.choice((*NAMES, "*.example"))], "namespaces": [space]}


def quota(dice: Random) -> Manifest:
    limit = {"unit": "messages", "max": dice.randint(1, 2), "per": "1h"}
    return {"subject": {"namespace": "shop"}, "limits": [limit]}


def documents(ages: Mapping[str, Sequence[int]], dice: Random) -> list[Manifest]:
    """Return the manifests of a world; objects that are there again have the age that they had."""
    found = []
    for index in range(len(SPACES)):
        specs = {"Domain": domain(dice), "Client": client(index, dice)}
        if index == 0:
            specs |= {"Relay": relay(dice), "DomainGrant": grant(dice), "Quota": quota(dice)}
        found += [
            manifest(kind, index, ages[kind], spec, dice)
            for kind, spec in specs.items()
            if often(dice)
        ]
        if often(dice):
            found.append(secret(index, dice))
    return found


def in_files(documents: list[Manifest], dice: Random) -> list[Manifest]:
    """Return manifests as files have them: in an order, and without ages."""
    for each in documents:
        metadata = each["metadata"]
        assert isinstance(metadata, dict)
        metadata.pop("creationTimestamp", None)
    return dice.sample(documents, len(documents))


def judged(dice: Random) -> Claims:
    dns = {
        ClaimKey(space, name): dice.choice(EVIDENCE)
        for space in ("shop", "work")
        for name in NAMES
        if often(dice)
    }
    return Claims(frozenset({"mail"}), "mail", dns, "relay.example")


def history(seed: int) -> list[World]:
    """Return worlds that follow one another, as edits make them."""
    dice = Random(seed)
    kinds = ("Relay", "Domain", "Client", "DomainGrant", "Quota")
    ages = {kind: dice.sample(range(len(SPACES)), len(SPACES)) for kind in kinds}
    files = not often(dice, of=3)
    worlds = []
    for _ in range(4):
        found, claims = documents(ages, dice), judged(dice)
        if files:
            found, claims = in_files(found, dice), OF_FILES
        objects = objects_from(found, complete=often(dice, of=6))
        worlds.append(World(objects, claims, dice.choice(LARGEST)))
    return worlds


@pytest.mark.parametrize(
    "seeds", [range(first, first + 100) for first in range(0, 600, 100)], ids=str
)
def test_compiling_again_changes_nothing(seeds: range) -> None:
    for seed in seeds:
        published: Mapping[str, Entry] = {}
        for world in history(seed):
            once = world.compiled(published)
            again = world.compiled(once.entries)
            assert again.entries == once.entries, seed
            for reference in once.conditions:
                assert again.ready(reference) == once.ready(reference), seed
            assert world.compiled(again.entries) == again, seed
            no_name_twice(again)
            published = again.entries


def no_name_twice(outcome: Compiled) -> None:
    entries = outcome.entries.values()
    usernames = [each.username for each in entries if isinstance(each, Client)]
    assert len(usernames) == len(set(usernames))
    names = [(each.key.namespace, each.domain) for each in entries if isinstance(each, Domain)]
    assert len(names) == len(set(names))
