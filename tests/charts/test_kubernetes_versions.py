"""All values give objects that Kubernetes accepts, in every version that the docs name."""

import kubernetes_validate
import pytest

from postroad_harness.cluster.chart import CHART, ChartRefused, Helm, Object, helms

EVERYTHING: dict[str, object] = {
    "hostname": "relay.example.com",
    "ingress.proxyProtocol.enabled": True,
    "ingress.proxyProtocol.trustedNetworks[0]": "192.0.2.0/24",
    "ingress.tls.existingSecret": "relay-tls",
    "ingress.autoscaling.enabled": True,
    "delivery.pools[0].name": "bulk",
    "delivery.autoscaling.enabled": True,
    "delivery.autoscaling.type": "cpu",
    "metrics.podMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "metrics.dashboard.enabled": True,
}
FOREIGN = ("cert-manager.io/", "keda.sh/", "monitoring.coreos.com/", "postroad.dev/")


def check(objects: list[Object], version: str) -> None:
    names = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in objects
    ]
    assert len(set(names)) == len(names)
    for each in objects:
        if not each["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(each, version, strict=True)


def test_the_built_in_kinds_are_valid(objects: list[Object]) -> None:
    check(objects, "1.34")


@pytest.mark.parametrize("minor", range(31, 36))
def test_every_version_of_kubernetes_is_served(helm: Helm, minor: int) -> None:
    objects = helm.render(EVERYTHING, kubernetes=f"1.{minor}.0")
    assert len(objects) > 30
    if minor in {33, 35}:  # of those the schemas are at hand; 1.34 has been asked above
        check(objects, f"1.{minor}")


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    with pytest.raises(ChartRefused, match=r"1\.30\.0"):
        helm.render({}, kubernetes="1.30.0")


def test_every_helm_reads_the_chart_without_complaint(helm: Helm) -> None:
    names = [each["metadata"]["name"] for each in helm.render(EVERYTHING)]
    for each in helms():
        done = each.run("lint", "--strict", str(CHART))
        assert done.returncode == 0, done.stdout + done.stderr
        # In another order, which is theirs to choose.
        assert sorted(o["metadata"]["name"] for o in each.render(EVERYTHING)) == sorted(names)


def test_the_kinds_come_with_the_chart_and_stay(helm: Helm) -> None:
    kept = helm.template("--show-only=templates/crd-domains.yaml")
    assert "name: domains.postroad.dev" in kept
    assert "helm.sh/resource-policy: keep" in kept
    loose = helm.template("--show-only=templates/crd-domains.yaml", "--set=crds.keep=false")
    assert "helm.sh/resource-policy" not in loose
    assert "CustomResourceDefinition" not in helm.template("--set=crds.enabled=false")
