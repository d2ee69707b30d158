"""
A real API server accepts the definitions, refuses wrong objects with a text, and shows columns.

It needs kube-apiserver and etcd, and no cluster: in KUBEBUILDER_ASSETS, on PATH, or as kubelab
builds them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from postroad.manifests.generate.crd_status import NAMES
from postroad.manifests.objects import Kind
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.left_out import leave_out
from postroad_harness.setups.api_server import (
    API_SERVER,
    DEFINITIONS,
    ETCD,
    LACKING,
    ApiServer,
    objects,
    start_api_server,
    start_etcd,
    until_ready,
)

OBJECTS = YAML(typ="safe").load(Path(__file__).with_name("objects.yaml"))
EXAMPLES = [
    each
    for path in sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.yaml"))
    for each in YAML(typ="safe").load_all(path)
    if each["kind"] in set(Kind)
]


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
