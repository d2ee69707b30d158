"""
A real API server accepts the definitions, refuses wrong objects with a text, and shows columns.

It needs kube-apiserver and etcd, and no cluster: in KUBEBUILDER_ASSETS, on PATH, or as kubelab
builds them.
"""

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ruamel.yaml import YAML

from postroad.manifests.generate.crd import custom_resource_definition
from postroad.manifests.generate.crd_status import NAMES
from postroad.manifests.objects import Kind
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.left_out import leave_out

OBJECTS = YAML(typ="safe").load(Path(__file__).with_name("objects.yaml"))
EXAMPLES = [
    each
    for path in sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.yaml"))
    for each in YAML(typ="safe").load_all(path)
    if each["kind"] in set(Kind)
]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATIENCE = 45.0


def binary(name: str) -> str | None:
    folders = (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH"))
    kubelab = str(Path.home() / ".cache" / "kubelab" / "bin")
    return shutil.which(name, path=os.pathsep.join([*filter(None, folders), kubelab]))


ETCD, API_SERVER = binary("etcd"), binary("kube-apiserver")
LACKING = "needs kube-apiserver and etcd in KUBEBUILDER_ASSETS, on PATH or built by kubelab"


@dataclass(frozen=True)
class ApiServer:
    """A client of the API server; answers are a status and a body."""

    url: str
    trusted: ssl.SSLContext

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        patch = method == "PATCH"
        sent = {
            "Authorization": "Bearer test",
            "Content-Type": f"application/{'merge-patch+' if patch else ''}json",
            **headers,
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(
                request, context=self.trusted, timeout=patient(10)
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def create(self, kind: str, spec: Any, name: str = "x", *, dry: bool = False) -> Any:
        body = {
            "apiVersion": "postroad.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        options = "fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        return self.call("POST", f"{objects(kind)}?{options}", body)


def objects(kind: str) -> str:
    return f"/apis/postroad.dev/v1alpha1/namespaces/default/{NAMES[Kind(kind)].plural}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if not (ETCD and API_SERVER):
        leave_out(LACKING)
    folder = tmp_path_factory.mktemp("api-server")
    client, peer, port = free_ports(3)
    processes = [start_etcd(folder, client, peer), start_api_server(folder, client, port)]
    try:
        yield until_ready(folder, port, processes)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=dies_with_us()
        )


def start_etcd(folder: Path, client: int, peer: int) -> subprocess.Popen[bytes]:
    return start(
        folder,
        str(ETCD),
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    )


def start_api_server(folder: Path, etcd: int, port: int) -> subprocess.Popen[bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "tokens").write_text("test,admin,admin,system:masters\n")
    return start(
        folder,
        str(API_SERVER),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'tls'}",
        f"--token-auth-file={folder / 'tokens'}",
        "--authorization-mode=AlwaysAllow",
        "--service-account-issuer=https://test.invalid",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.97.0.0/16",
        "--profiling=false",
    )


def until_ready(folder: Path, port: int, processes: list[subprocess.Popen[bytes]]) -> ApiServer:
    found = None
    for _ in attempts(processes):
        try:
            trusted = ssl.create_default_context(cafile=str(folder / "tls" / "apiserver.crt"))
            found = ApiServer(f"https://127.0.0.1:{port}", trusted)
            # Its RBAC roles and namespaces come last, and writes wait for them.
            if found.call("GET", "/api/v1/namespaces/default")[0] == 200:
                break
        except (OSError, ValueError):
            continue
    assert found
    for kind in NAMES:
        status, body = found.call("POST", DEFINITIONS, custom_resource_definition(kind))
        assert status == 201, body["message"]
    for _ in attempts(processes):
        if all(found.call("GET", objects(kind))[0] == 200 for kind in NAMES):
            return found
    raise AssertionError("the definitions are not established")


def attempts(processes: list[subprocess.Popen[bytes]]) -> Iterator[float]:
    end = time.monotonic() + patient(PATIENCE)
    while time.monotonic() < end:
        yield end
        for process in processes:
            assert process.poll() is None, f"{process.args!r} ended; see its log"
        time.sleep(0.1)  # neither tells anybody when it is ready
    raise AssertionError("the API server does not get ready")


@pytest.mark.parametrize("kind", NAMES)
def test_a_definition_is_established_and_structural(server: ApiServer, kind: Kind) -> None:
    _, body = server.call("GET", f"{DEFINITIONS}/{NAMES[kind].plural}.postroad.dev")
    conditions = {each["type"]: each["status"] for each in body["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_wrong_objects_are_refused_with_what_to_do(server: ApiServer) -> None:
    for case in OBJECTS["refused"]:
        status, body = server.create(case["kind"], case["spec"], dry=True)
        assert status == 422, case
        causes = body["details"]["causes"]
        said = [each["message"] for each in causes if each["field"] == case["at"]]
        assert any(case["says"] in message for message in said), (case, causes)


def test_right_objects_are_taken(server: ApiServer) -> None:
    for case in OBJECTS["taken"] + OBJECTS["told_later"] + EXAMPLES:
        status, body = server.create(case["kind"], case["spec"], dry=True)
        assert status == 201, body["message"]


def test_what_the_api_server_alone_refuses_is_refused(server: ApiServer) -> None:
    for case in OBJECTS["refused_by_api_server_alone"]:
        status, body = server.create(case["kind"], case["spec"], dry=True)
        assert status == 422
        assert [each["field"] for each in body["details"]["causes"]] == [case["at"]]


def test_an_unknown_field_is_told_by_name(server: ApiServer) -> None:
    status, body = server.create("Relay", {"mx": {}, "egres": {}}, dry=True)
    assert status == 400
    assert 'unknown field "spec.egres"' in body["message"]


def test_the_largest_lists_are_within_the_budget_of_the_rules(server: ApiServer) -> None:
    domain = f"{'a-rather-long-label.' * 4}example.com"
    addresses = [f"somebody.with.a.name.{number}@a.example" for number in range(10_000)]
    route = {"hosts": [{"host": f"host-{number}.{domain}"} for number in range(64)]}
    recipients = {"mode": "List", "addresses": addresses}
    senders = [f"somebody.with.a.name.{number}@{domain}" for number in range(1000)]
    destinations = [f"host-{number}.{domain}" for number in range(1000)]
    sources = [{"name": f"source-{number}"} for number in range(64)]
    limits = [{"messages": 1, "per": f"1d{number}h1m1.500s500ms"} for number in range(16)]
    for kind, spec in (
        ("Domain", {"domain": "a.example", "receive": {"route": route, "recipients": recipients}}),
        ("Client", {"senders": senders, "networks": ["10.0.0.0/8"] * 256}),
        ("Relay", {"mx": {}, "destinations": destinations, "egress": {"sources": sources}}),
        ("Relay", {"smarthosts": route["hosts"], "auth": {"secretRef": {"name": "s"}}}),
        ("Quota", {"subject": {"namespace": "*"}, "limits": limits}),
        ("DomainGrant", {"domains": destinations, "namespaces": ["n" * 63] * 1000}),
    ):
        status, body = server.create(kind, spec, dry=True)
        assert status == 201, body["message"][:1000]


def test_a_domain_keeps_its_name(server: ApiServer) -> None:
    assert server.create("Domain", {"domain": "keeps.example", "send": {}}, "keeps")[0] == 201
    path = f"{objects('Domain')}/keeps"
    assert server.call("PATCH", path, {"spec": {"send": {"relayRef": {"name": "a"}}}})[0] == 200
    status, body = server.call("PATCH", path, {"spec": {"domain": "other.example"}})
    assert status == 422
    assert "spec.domain: " in body["message"]
    assert "cannot be changed; make another Domain for the other name" in body["message"]


def test_a_domain_is_found_by_its_name(server: ApiServer) -> None:
    assert server.create("Domain", {"domain": "found.example", "send": {}}, "found")[0] == 201
    query = "?fieldSelector=spec.domain%3Dfound.example"
    _, body = server.call("GET", objects("Domain") + query)
    assert [each["metadata"]["name"] for each in body["items"]] == ["found"]


NOW = "2026-11-24T12:00:00Z"


def conditions(**told: str) -> list[dict[str, Any]]:
    return [
        {
            "type": name,
            "status": status,
            "reason": "Programmed" if name == "Ready" else name,
            "message": "",
            "lastTransitionTime": NOW,
            "observedGeneration": 1,
        }
        for name, status in told.items()
    ]


RECORD = {"name": "seen.example", "type": "MX", "value": "10 mx.example", "state": "Missing"}
USAGE = {"limit": "messages/1h", "used": 4210, "max": 10000, "resetsAt": NOW}
SEEN: list[tuple[str, dict[str, Any], dict[str, Any], list[Any]]] = [
    (
        "Domain",
        {"domain": "seen.example", "send": {}},
        {
            "conditions": conditions(Ready="True", DomainClaimed="True", DNSVerified="False"),
            "dnsRecords": [RECORD],
        },
        ["seen", "seen.example", "True", "Programmed", "True", "False"],
    ),
    (
        "Relay",
        {"smarthosts": [{"host": "a.example"}, {"host": "b.example"}]},
        {"conditions": conditions(Ready="True", Reachable="True")},
        ["seen", '["*"]', "a.example", "True", "Programmed", "True"],
    ),
    (
        "Quota",
        {"subject": {"namespace": "shop"}, "limits": [{"messages": 10000, "per": "1h"}]},
        {"conditions": conditions(Ready="True"), "usage": [{**USAGE, "subject": "shop"}]},
        ["seen", '{"namespace":"shop"}', "messages/1h", 4210, 10000, "True", "Programmed"],
    ),
    (
        "Client",
        {"networks": ["10.0.0.0/8"], "senders": ["*"]},
        {"conditions": conditions(Ready="True")},
        ["seen", "Transactional", "True", "Programmed"],
    ),
    (
        "DomainGrant",
        {"domains": ["a.example"], "namespaces": ["shop"]},
        {"conditions": conditions(Ready="True")},
        ["seen", '["a.example"]', '["shop"]', "True", "Programmed"],
    ),
]


@pytest.mark.parametrize(("kind", "spec", "told", "cells"), SEEN)
def test_a_status_is_kept_and_its_columns_are_shown(
    server: ApiServer, kind: str, spec: object, told: Mapping[str, Any], cells: list[Any]
) -> None:
    assert server.create(kind, spec, "seen")[0] == 201
    status = {"observedGeneration": 1, **told}
    path = f"{objects(kind)}/seen"
    code, body = server.call("PATCH", f"{path}/status?fieldValidation=Strict", {"status": status})
    assert code == 200, body["message"]
    assert body["status"] == status
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    _, body = server.call("GET", path, **table)
    shown = [each["priority"] == 0 for each in body["columnDefinitions"]]
    row = [cell for cell, is_shown in zip(body["rows"][0]["cells"], shown, strict=True) if is_shown]
    assert row[:-1] == cells
