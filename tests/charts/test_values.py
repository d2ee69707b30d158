"""The values that users may set, their effects, and the errors for wrong ones."""

import json
import re
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from postroad_harness.cluster.chart import (
    CHART,
    PREFIX,
    ChartRefused,
    Helm,
    Object,
    environment,
    helms,
    named,
)


@pytest.mark.parametrize(
    ("typo", "told"),
    [
        ("nats.replica=1", "replica"),
        ("ingress.service.typ=LoadBalancer", "typ"),
        ("delivery.autoscaling.enable=true", "enable"),
        ("delivery.pools[0].nam=bulk", "nam"),
        ("operater.replicas=1", "operater"),
    ],
)
def test_a_typo_is_refused_by_its_name(helm: Helm, typo: str, told: str) -> None:
    for each in helms():
        with pytest.raises(ChartRefused, match=rf"\b{told}\b"):
            each.template(f"--set={typo}")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"nats.replicas": 2}, r"nats.*replicas"),
        ({"nats.terminationGracePeriodSeconds": 30}, r"nats.*terminationGracePeriodSeconds"),
        ({"nats.storage.size": "10GB"}, r'nats\.storage\.size: "10GB" is not a size; write octets'),
        ({"nats.storage.size": "1.5Gi"}, r"nats\.storage\.size"),
        ({"nats.enabled": False}, r"nats\.external\.\w+: is needed"),
        ({"ingress.proxyProtocol.enabled": True}, r"trustedNetworks: name the networks"),
        ({"ingress.terminationGracePeriodSeconds": 20}, r"ingress\.terminationGracePeriodSeconds"),
        ({"delivery.terminationGracePeriodSeconds": 20}, r"delivery\.terminationGracePeriod"),
        (
            {"hostname": "relay.example.com", "ingress.tls.certManager.enabled": True},
            r"certManager\.issuerRef\.name: is needed",
        ),
        (
            {
                "ingress.tls.certManager.enabled": True,
                "ingress.tls.certManager.issuerRef.name": "letters",
            },
            r"certManager\.dnsNames: name at least one",
        ),
        (
            {
                "ingress.tls.certManager.enabled": True,
                "ingress.tls.existingSecret": "relay-tls",
            },
            r"ingress\.tls: existingSecret and certManager\.enabled exclude each other",
        ),
        (
            {f"ingress.service.{name}Port": 0 for name in ("relay", "submission", "submissions")},
            r"ingress\.service: has no port left",
        ),
        ({"delivery.pools[0].name": "default"}, "pools"),
        (
            {"operator.clusterWide": True, "operator.watchNamespaces[0]": "shop"},
            "clusterWide and watchNamespaces exclude each other",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(
    helm: Helm, values: Mapping[str, object], told: str
) -> None:
    with pytest.raises(ChartRefused, match=told):
        helm.render(values)


@pytest.mark.parametrize(
    ("size", "octets"),
    [("10Gi", 10 * 2**30), ("512Mi", 512 * 2**20), ("2Ti", 2 * 2**40), (5_000_000_000, 5 * 10**9)],
)
def test_the_queue_may_take_85_percent_of_the_volume(helm: Helm, size: object, octets: int) -> None:
    objects = helm.render({"nats.storage.size": size})
    config = named(objects, "ConfigMap", "nats")["data"]["nats-server.conf"]
    limit = octets * 85 // 100
    accounts = named(objects, "ConfigMap", "nats")["data"]["nats-accounts.conf"]
    assert f"jetstream: {{ max_file: {3 * limit} }}\n" in accounts  # each copy counts
    assert f"max_file_store: {limit * 18 // 17}\n" in config  # higher, or no stream has a leader
    assert environment(objects, "Deployment", "operator")["POSTROAD_QUEUE_CAPACITY"] == str(limit)
    (claim,) = named(objects, "StatefulSet", "nats")["spec"]["volumeClaimTemplates"]
    assert str(claim["spec"]["resources"]["requests"]["storage"]) == str(size)


def test_who_scales_says_how_many(rendered: Mapping[str, list[Object]]) -> None:
    def replicas(case: str, name: str) -> int | None:
        found: int | None = named(rendered[case], "Deployment", name)["spec"].get("replicas")
        return found

    assert (replicas("default", "ingress"), replicas("default", "delivery")) == (2, 2)
    assert (replicas("keda", "ingress"), replicas("keda", "delivery")) == (None, None)
    assert (replicas("pools", "delivery"), replicas("pools", "delivery-bulk")) == (5, 0)
    assert replicas("pools", "delivery-eu") is None
    kinds = {o["kind"] for o in rendered["cpu"] if "scal" in o["kind"].lower()}
    assert kinds == {"HorizontalPodAutoscaler"}


def test_keda_asks_for_the_backlog_of_each_pool(rendered: Mapping[str, list[Object]]) -> None:
    (trigger,) = named(rendered["pools"], "ScaledObject", "delivery-eu")["spec"]["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"] == {
        "url": f"http://{PREFIX}-operator.mail.svc:8080/backlog",
        "format": "json",
        "valueLocation": "pools.eu",
        "targetValue": "2000",
    }


def test_a_pool_takes_what_it_does_not_say_from_the_default(
    rendered: Mapping[str, list[Object]],
) -> None:
    objects = rendered["pools"]
    bulk, eu = (environment(objects, "Deployment", f"delivery-{name}") for name in ("bulk", "eu"))
    assert (bulk["POSTROAD_POOL"], bulk["POSTROAD_HOSTNAME"]) == ("bulk", "relay.example.com")
    assert (eu["POSTROAD_POOL"], eu["POSTROAD_HOSTNAME"]) == ("eu", "eu.example.com")
    spec = named(objects, "Deployment", "delivery-bulk")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"egress": "bulk"}
    assert (
        "nodeSelector" not in named(objects, "Deployment", "delivery")["spec"]["template"]["spec"]
    )


@pytest.mark.parametrize("case", ["secret-tls", "cert-manager"])
def test_a_certificate_is_mounted_so_that_it_can_change(
    rendered: Mapping[str, list[Object]], case: str
) -> None:
    objects = rendered[case]
    spec = named(objects, "Deployment", "ingress")["spec"]["template"]["spec"]
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "tls")
    assert mount == {"name": "tls", "mountPath": "/tls", "readOnly": True}  # no subPath
    (volume,) = (v for v in spec["volumes"] if v["name"] == "tls")
    if case == "cert-manager":
        certificate = named(objects, "Certificate", "ingress")["spec"]
        assert certificate["dnsNames"] == ["relay.example.com"]
        assert volume["secret"]["secretName"] == certificate["secretName"]
    else:
        assert volume["secret"]["secretName"] == "relay-tls"


def test_secrets_are_made_once_and_stay(helm: Helm, rendered: Mapping[str, list[Object]]) -> None:
    objects = rendered["default"]
    for name, keys in (
        ("nats-auth", {"ingress", "delivery", "operator", "command", "cluster"}),
        ("cluster-key", {"ingress.key", "delivery.key"}),
        ("nats-ca", {"tls.crt", "tls.key"}),
        ("nats-tls", {"ca.crt", "tls.crt", "tls.key"}),
    ):
        secret = named(objects, "Secret", name)
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert set(secret["data"]) == keys
    assert [o for o in rendered["theirs"] if o["kind"] == "Secret"] == []
    # With a cluster, `lookup` finds what is there; tests/cluster upgrades a release for that.
    for template in ("nats-auth", "nats-tls", "cluster-key"):
        assert "lookup" in (CHART / "templates" / f"{template}.yaml").read_text()


def test_a_pod_has_the_cluster_key_of_its_role_alone(rendered: Mapping[str, list[Object]]) -> None:
    def keys(name: str) -> set[str]:
        spec = named(rendered["default"], "Deployment", name)["spec"]["template"]["spec"]
        (volume,) = (v for v in spec["volumes"] if v["name"] == "cluster-key")
        files = {f"/secrets/cluster/{item['path']}" for item in volume["secret"]["items"]}
        environment = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
        named_files = {
            v for n, v in environment.items() if n.endswith("_KEY_FILE") and "TLS" not in n
        }
        assert named_files == files
        return {item["key"] for item in volume["secret"]["items"]}

    assert keys("ingress") == {"ingress.key"}
    assert keys("delivery") == {"delivery.key"}
    assert keys("operator") == {"ingress.key", "delivery.key"}


def test_the_schema_knows_what_values_yaml_has() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = YAML(typ="safe").load(CHART / "values.yaml")
    known = set(_declared(schema)) - {"global"}
    assert known - set(_set(values)) <= {
        *("ingress.tls.certManager.issuerRef.name", "ingress.tls.certManager.issuerRef.kind"),
        "ingress.tls.certManager.issuerRef.group",
    }


def _declared(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, of in schema.get("properties", {}).items():
        yield path + name
        yield from _declared(of, f"{path}{name}.")


def _set(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield path + name
        if isinstance(value, dict):
            yield from _set(value, f"{path}{name}.")


def test_the_readme_is_fresh() -> None:
    page = runpy.run_path(str(CHART.parent / "readme.py"))["page"]
    written = (CHART / "README.md").read_text(encoding="utf-8")
    assert written == page((CHART / "values.yaml").read_text(encoding="utf-8")), "run `make docs`"


def test_the_versions_are_one() -> None:
    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    project = (Path(CHART).parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["appVersion"]}"\n' in project


def test_the_operator_tells_of_every_pool_that_is_scaled(
    rendered: Mapping[str, list[Object]],
) -> None:
    assert environment(rendered["pools"], "Deployment", "operator")["POSTROAD_POOLS"] == "bulk,eu"
    assert "POSTROAD_POOLS" not in environment(rendered["default"], "Deployment", "operator")


def test_the_first_objects_are_good(tmp_path: Path) -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    manifest = re.search(r"<<'YAML'\n(.*?)\n *YAML\n", notes, re.DOTALL)
    assert manifest is not None
    file = tmp_path / "first.yaml"
    file.write_text(textwrap.dedent(manifest[1]).replace("{{ $ns }}", "mail"))
    done = subprocess.run(
        [Path(sys.executable).with_name("postroad"), "check", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pool_may_be_called_by_what_yaml_takes_for_a_number(helm: Helm) -> None:
    objects = helm.render({"delivery.pools[0].name": "1e3"})
    pod = named(objects, "Deployment", "delivery-1e3")["spec"]["template"]
    assert pod["metadata"]["labels"]["postroad.dev/pool"] == "1e3"
    assert environment(objects, "Deployment", "delivery-1e3")["POSTROAD_POOL"] == "1e3"
    assert environment(objects, "Deployment", "operator")["POSTROAD_POOLS"] == "1e3"
