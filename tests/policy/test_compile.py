"""Compiling all objects together: what comes out, what stays in force, what is told where."""

from datetime import timedelta
from pathlib import Path

from postroad.manifests.compiler.check import check
from postroad.manifests.objects import Kind, Reference
from postroad.policy.codec import encode_entry
from postroad.policy.model import Client, Credentials, ObjectKey, Relay, TlsMode
from postroad_harness.compiling import KEYRINGS, compiled, reasons
from postroad_harness.setups.manifests import CLIENT, LOGIN, RECEIVING, RELAY, SHARED, secret


def test_a_relay_is_what_its_manifest_says() -> None:
    outcome = compiled(
        "kind: Relay\nmetadata: {name: out, namespace: x}\nspec:\n"
        "  destinations: [Example.COM, '*.bücher.example']\n"
        "  smarthosts: [{host: a.example, port: 465}, {host: '[2001:db8::1]', port: 465}]\n"
        "  auth: {secretRef: {name: s}}\n  tls: {mode: Verified}\n"
        "  egress: {pool: two}\n  retry: {delayWarning: 0s, max: 1h30m}\n"
        "  limits: {messageRate: 10/1m}",
        secret("me", "pass"),
    )
    relay = outcome.entries["relay.x.out"]
    assert isinstance(relay, Relay)
    assert relay.destinations == ("example.com", "*.xn--bcher-kva.example")
    way = relay.egress_path
    assert way.name == "relay:x/out"
    assert [(host.host, host.port) for host in way.smarthosts] == [
        ("a.example", 465),
        ("2001:db8::1", 465),
    ]
    assert way.implicit_tls
    assert way.tls is TlsMode.VERIFIED
    assert way.credentials == Credentials("me", "pass")
    assert way.pool == "two"
    assert way.retry.longest == timedelta(minutes=90)
    assert way.retry.delay_warning is None
    assert way.limits.message_rate is not None
    assert way.limits.message_rate.count == 10


def test_an_ipv4_address_written_as_an_ipv6_one_is_one_of_ipv4() -> None:
    relay = "kind: Relay\nmetadata: {name: r, namespace: x}\n"
    relay += "spec: {smarthosts: [{host: '[::ffff:192.0.2.1]'}],"
    relay += " egress: {sources: [{name: s, address: '::ffff:192.0.2.9'}]}}"
    client = CLIENT.replace("10.0.0.0/8", "'::ffff:10.1.2.0/120'") % ""
    entries = compiled(relay, client).entries
    made, known = entries["relay.x.r"], entries["client.default.c"]
    assert isinstance(made, Relay)
    assert isinstance(known, Client)
    assert [host.host for host in made.egress_path.smarthosts] == ["192.0.2.1"]
    assert [source.address for source in made.egress_path.sources] == ["192.0.2.9"]
    assert list(map(str, known.networks)) == ["10.1.2.0/24"]


def test_senders_of_a_domain_elsewhere_are_left_out_unless_it_admits_them() -> None:
    domain = "kind: Domain\nmetadata: {name: d, namespace: y}\n"
    domain += "spec: {domain: d.example, send: {}%s}"
    client = CLIENT.replace("'*'", "'*@d.example', 'me@other.example'") % ""
    outcome = compiled(domain % "", client)
    entry = outcome.entries["client.default.c"]
    assert isinstance(entry, Client)
    assert entry.senders == ("me@other.example",)
    assert reasons(outcome, Kind.CLIENT, "c") == ["SenderNotAllowed", "SenderNotAllowed"]

    open_to_all = compiled(domain % ", allowedNamespaces: {from: All}", client)
    entry = open_to_all.entries["client.default.c"]
    assert isinstance(entry, Client)
    assert entry.senders == ("*@d.example", "me@other.example")


def test_a_client_without_any_sender_left_is_not_in_force() -> None:
    domain = "kind: Domain\nmetadata: {name: d, namespace: y}\nspec: {domain: d.example, send: {}}"
    outcome = compiled(domain, CLIENT.replace("'*'", "'*@d.example'") % "")
    assert list(outcome.entries) == ["domain.y.d"]


def test_what_is_deleted_leaves_only_when_all_was_listed() -> None:
    before = compiled(RELAY, CLIENT % "")
    assert list(compiled(RELAY, last_good=before).entries) == ["relay.default.out"]
    assert compiled(RELAY, last_good=before, complete=False).entries == before.entries


def test_compiling_again_from_its_own_outcome_changes_nothing() -> None:
    texts = (SHARED % "{from: All}", RECEIVING % "x", LOGIN % ("a", "s"), secret())
    once = compiled(*texts)
    again = compiled(*reversed(texts), last_good=once)
    assert again.conditions == once.conditions
    assert [encode_entry(k, v, KEYRINGS) for k, v in once.entries.items()] == [
        encode_entry(k, v, KEYRINGS) for k, v in again.entries.items()
    ]


def test_conditions_carry_the_generation_they_are_about() -> None:
    outcome = compiled(RELAY.replace("{name: out}", "{name: out, generation: 7}"))
    (conditions,) = outcome.conditions.values()
    assert {condition.observed_generation for condition in conditions} == {7}
    assert outcome.ready(Reference(Kind.RELAY, ObjectKey("default", "out")))


def test_what_shows_only_in_compiling_is_told_at_its_field(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "apiVersion: postroad.dev/v1alpha1\nkind: Client\nmetadata: {name: c}\nspec:\n"
        "  networks: [10.0.0.0/8]\n  senders: ['*']\n  relayRef:\n    name: none\n"
    )
    mistakes, compiled = check([tmp_path])
    assert [str(mistake) for mistake in mistakes] == [
        f"{tmp_path}/m.yaml:7: spec.relayRef: there is no Relay default/none; declare it, or name"
        " another"
    ]
    assert compiled.entries == {}


def test_an_edit_that_spoils_one_file_spoils_nothing_else(tmp_path: Path) -> None:
    head = "apiVersion: postroad.dev/v1alpha1\n"
    for name, text in (("a", RELAY), ("b", CLIENT % "")):
        (tmp_path / f"{name}.yaml").write_text(head + text)
    good = check([tmp_path], keyrings=KEYRINGS)
    assert good.mistakes == ()
    (tmp_path / "a.yaml").write_text("{")
    (tmp_path / "b.yaml").write_text(head + CLIENT % ", class: Bulk")
    mistakes, after = check([tmp_path], keyrings=KEYRINGS, last_good=good.compiled.entries)
    assert len(mistakes) == 1
    assert after.entries["relay.default.out"] == good.compiled.entries["relay.default.out"]
    assert after.entries["client.default.c"] != good.compiled.entries["client.default.c"]


def test_an_object_that_lost_its_name_is_not_taken_for_deleted(tmp_path: Path) -> None:
    head = "apiVersion: postroad.dev/v1alpha1\n"
    (tmp_path / "m.yaml").write_text(head + RELAY)
    good = check([tmp_path], keyrings=KEYRINGS).compiled
    (tmp_path / "m.yaml").write_text(head + RELAY.replace("name: out", "name: Out"))
    assert check([tmp_path], keyrings=KEYRINGS, last_good=good.entries).compiled.entries
    (tmp_path / "m.yaml").write_text("")
    assert not check([tmp_path], keyrings=KEYRINGS, last_good=good.entries).compiled.entries


def test_the_examples_in_the_docs_are_good() -> None:
    folder = Path(__file__).parents[2] / "docs" / "examples"
    mistakes, compiled = check([folder])
    assert mistakes == ()
    assert {key.partition(".")[0] for key in compiled.entries} == {
        "client",
        "domain",
        "quota",
        "relay",
    }
