"""Passwords that are hashed later, so that thousands of new ones hold up nobody's edits."""

from collections.abc import Mapping
from textwrap import dedent

from postroad.manifests.compiler.claims import OF_FILES
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Kind
from postroad.operator.configuration.password_hashing import by_turns
from postroad.policy.model import Client, Entry, ObjectKey
from postroad.policy.secrets.scram import password_matches
from postroad.policy.secrets.seal import Reader
from postroad.policy.secrets.verifiers import Unhashed, Verifiers
from postroad_harness.compiling import KEYRINGS, objects_of, reasons


def client(name: str, password: str, *, username: str = "") -> list[str]:
    metadata = f"{{name: {name}}}"
    login = f"{{username: {username or name}, password: {password}}}"
    return [
        f"kind: Secret\nmetadata: {metadata}\nstringData: {login}",
        dedent(
            f"""\
            kind: Client
            metadata: {metadata}
            spec: {{auth: {{secretRef: {{name: {name}}}}}, senders: ["*@a.example"]}}
            """
        ),
    ]


def hashing(at_once: int) -> Verifiers:
    return Verifiers(KEYRINGS[Reader.INGRESS], iterations=1, at_once=at_once)


def compiled(
    *clients: list[str], verifiers: Verifiers, last: Mapping[str, Entry] | None = None
) -> Compiled:
    return compile_objects(
        objects_of(*(text for texts in clients for text in texts)),
        keyrings=KEYRINGS,
        last_good=last,
        verifiers=verifiers,
        claims=OF_FILES,
    )


def logins(outcome: Compiled, *passwords: str) -> dict[str, str]:
    """Return the usernames in force, each with that of the passwords that its verifier takes."""
    return {
        entry.username: next(each for each in passwords if password_matches(entry.verifier, each))
        for entry in outcome.entries.values()
        if isinstance(entry, Client) and entry.username and entry.verifier
    }


def test_some_are_hashed_at_once_and_the_others_when_somebody_does_it() -> None:
    verifiers = hashing(2)
    three = [client(name, "old") for name in ("a", "b", "c")]
    outcome = compiled(*three, verifiers=verifiers)
    assert logins(outcome, "old") == {"a": "old", "b": "old"}
    assert reasons(outcome, Kind.CLIENT, "c") == ["Pending", "Pending"]
    for each in verifiers.postponed:
        verifiers.make(each)
    outcome = compiled(*three, verifiers=verifiers, last=outcome.entries)
    assert logins(outcome, "old") == {"a": "old", "b": "old", "c": "old"}
    assert reasons(outcome, Kind.CLIENT, "c") == []
    assert verifiers.postponed == []


def test_the_old_password_is_in_force_until_then() -> None:
    verifiers = hashing(2)
    published = compiled(client("a", "old"), client("b", "old"), verifiers=verifiers)
    both = client("a", "new", username="aa"), client("b", "new")
    verifiers = Verifiers(
        KEYRINGS[Reader.INGRESS], published=published.entries.values(), iterations=1, at_once=0
    )
    outcome = compiled(*both, verifiers=verifiers, last=published.entries)
    assert logins(outcome, "old", "new") == {"a": "old", "b": "old"}
    assert reasons(outcome, Kind.CLIENT, "b") == ["Stale", "Pending"]
    for each in verifiers.postponed:
        verifiers.make(each)
    outcome = compiled(*both, verifiers=verifiers, last=outcome.entries)
    assert logins(outcome, "old", "new") == {"aa": "new", "b": "new"}


def test_no_two_have_one_username_meanwhile() -> None:
    """One takes the name that another gives up, whose new password is not hashed yet."""
    published = compiled(client("a", "old"), client("b", "old"), verifiers=hashing(2))
    exchanged = client("a", "new", username="x"), client("b", "new", username="a")
    verifiers = Verifiers(
        KEYRINGS[Reader.INGRESS], published=published.entries.values(), iterations=1, at_once=0
    )
    outcome = compiled(*exchanged, verifiers=verifiers, last=published.entries)
    names = [each.username for each in outcome.entries.values() if isinstance(each, Client)]
    assert names == ["b"], "the name a is given to b, which has no verifier for it yet"


def test_each_namespace_has_its_turn() -> None:
    many = [Unhashed(ObjectKey("many", str(number)), "", b"") for number in range(3)]
    few = Unhashed(ObjectKey("few", "one"), "", b"")
    assert list(by_turns([*many, few])) == [many[0], few, *many[1:]]
