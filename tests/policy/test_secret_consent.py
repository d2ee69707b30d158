"""A Secret is used as a login only where its owner lets it, and goes only to the hosts named."""

from dataclasses import replace
from pathlib import Path

import pytest

from postroad.manifests.compiler.check import examine
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Kind
from postroad.policy.model import Relay
from postroad_harness.compiling import KEYRINGS, objects_of, reasons

DATABASE = """
kind: Secret
metadata: {name: database, namespace: shop}
type: kubernetes.io/basic-auth
stringData: {username: admin, password: correct horse battery}
"""
LABEL = "labels: {postroad.dev/secret-type: login}"
SMARTHOST = """
kind: Relay
metadata: {name: out, namespace: shop}
spec:
  smarthosts: [{host: HOST}]
  auth: {secretRef: {name: database}}
"""
CLIENT = """
kind: Client
metadata: {name: app, namespace: shop}
spec: {auth: {secretRef: {name: database}}, senders: ["*"]}
"""


def secret(*metadata: str) -> str:
    """Return the Secret with more metadata."""
    return DATABASE.replace("namespace: shop}", f"{', '.join(('namespace: shop', *metadata))}}}")


def hosts(text: str) -> str:
    return f'annotations: {{postroad.dev/hosts: "{text}"}}'


def in_cluster(*texts: str, last_good: Compiled | None = None) -> Compiled:
    objects = replace(objects_of(*texts), opt_in=True)
    entries = last_good.entries if last_good else {}
    return compile_objects(objects, keyrings=KEYRINGS, last_good=entries)


def relay_to(host: str) -> str:
    return SMARTHOST.replace("HOST", host)


def test_a_relay_does_not_get_a_secret_that_nobody_meant_for_it() -> None:
    """Its author may be allowed to write Relays, and not to read Secrets."""
    outcome = in_cluster(DATABASE, relay_to("mine.example"))
    assert reasons(outcome, Kind.RELAY, "out", "shop") == ["SecretNotOptedIn"] * 2
    assert outcome.entries == {}
    said = str(outcome.conditions)
    assert "Secret shop/database is not for logins" in said
    assert "label it postroad.dev/secret-type=login" in said
    assert "correct horse" not in said


def test_a_client_does_not_get_one_either() -> None:
    outcome = in_cluster(DATABASE, CLIENT)
    assert reasons(outcome, Kind.CLIENT, "app", "shop") == ["SecretNotOptedIn"] * 2
    assert outcome.entries == {}
    assert in_cluster(secret(LABEL), CLIENT).entries


@pytest.mark.parametrize("label", ["labels: {postroad.dev/secret-type: other}", "labels: {}"])
def test_another_label_is_no_consent(label: str) -> None:
    assert in_cluster(secret(label), CLIENT).entries == {}


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("smtp.example", "smtp.example"),
        ("other.example, smtp.example", "smtp.example"),
        ("other.example smtp.example", "SMTP.example"),
        ("*.example", "smtp.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("*", "anything.test"),
    ],
)
def test_a_login_goes_to_the_hosts_that_its_secret_names(allowed: str, host: str) -> None:
    outcome = in_cluster(secret(LABEL, hosts(allowed)), relay_to(host))
    (relay,) = outcome.entries.values()
    assert isinstance(relay, Relay)
    assert relay.egress_path.credentials is not None


@pytest.mark.parametrize(
    "metadata",
    [
        (LABEL,),
        (LABEL, hosts("")),
        (LABEL, hosts("smtp.example")),
        (LABEL, hosts("*.mine.example")),
        (LABEL, hosts("example")),
    ],
)
def test_a_login_goes_to_no_other_host(metadata: tuple[str, ...]) -> None:
    outcome = in_cluster(secret(*metadata), relay_to("mine.example"))
    assert reasons(outcome, Kind.RELAY, "out", "shop") == ["HostNotAllowed"] * 2
    assert outcome.entries == {}


def test_every_host_of_a_relay_has_to_be_named() -> None:
    both = relay_to("smtp.example").replace("}]", "}, {host: mine.example}]")
    outcome = in_cluster(secret(LABEL, hosts("smtp.example")), both)
    assert reasons(outcome, Kind.RELAY, "out", "shop") == ["HostNotAllowed"] * 2


def test_what_is_in_force_goes_on_without_consent_to_what_it_was() -> None:
    """So an upgrade stops no mail, and an edit sends the old password to no new host."""
    good = in_cluster(secret(LABEL, hosts("smtp.example")), relay_to("smtp.example"))
    for texts in (
        (DATABASE, relay_to("smtp.example")),
        (secret(LABEL, hosts("smtp.example")), relay_to("mine.example")),
    ):
        outcome = in_cluster(*texts, last_good=good)
        assert reasons(outcome, Kind.RELAY, "out", "shop")[0] == "Stale"
        assert outcome.entries == good.entries


def test_in_files_nobody_has_to_opt_in_and_hosts_that_are_named_count() -> None:
    def compiled(*texts: str) -> Compiled:
        return compile_objects(objects_of(*texts), keyrings=KEYRINGS)

    assert compiled(DATABASE, relay_to("mine.example")).entries
    assert not compiled(secret(hosts("smtp.example")), relay_to("mine.example")).entries


def test_check_warns_of_files_for_kubernetes_where_a_secret_is_not_opted_in(
    tmp_path: Path,
) -> None:
    def warned(*texts: str) -> list[str]:
        api = {"Secret": "v1", "Relay": "postroad.dev/v1alpha1", "Client": "postroad.dev/v1alpha1"}
        whole = [f"apiVersion: {api[t.split()[1]]}{t}" for t in texts]
        (tmp_path / "all.yaml").write_text("\n---\n".join(whole))
        return [each.reason for each in examine([tmp_path]).warnings]

    other = secret(LABEL).replace("name: database", "name: other")
    assert warned(DATABASE, CLIENT, relay_to("smtp.example")) == []  # perhaps for one machine
    said = warned(other, DATABASE, CLIENT.replace("app", "web"), relay_to("smtp.example"))
    assert len(said) == 2
    assert all(each.startswith("on Kubernetes, Secret shop/database is not for") for each in said)
    said = warned(secret(LABEL), CLIENT, relay_to("smtp.example"))
    assert len(said) == 1
    assert "may not go to smtp.example" in said[0]
