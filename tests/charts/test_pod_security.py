"""
Every pod of the chart meets the Pod Security Standard *restricted*, and further rules.

The checks follow the standard's text, field by field. A namespace that enforces the standard would
refuse a pod only when it is created.
"""

from collections.abc import Iterator

import pytest

from postroad_harness.cluster.chart import Object, pods

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}
SAFE_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"}


def violations(pod: Object) -> Iterator[str]:
    """Yield what the standard forbids in this pod."""
    of_pod = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for sysctl in of_pod.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']}"
    if "hostProcess" in of_pod.get("windowsOptions", {}):
        yield "hostProcess"
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        for violation in _of_container(container, of_pod):
            yield f"{container['name']}: {violation}"


def _of_container(container: Object, of_pod: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**of_pod, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    found = dict(pods(objects))
    assert len(found) >= 4
    assert [(name, told) for name, pod in found.items() for told in violations(pod)] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"securityContext": {}}, "c: may run as root"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v"),
        ({"containers": [{"name": "c", "securityContext": {}}]}, "c: capabilities are not dropped"),
    ],
)
def test_the_checks_see_what_is_forbidden(change: Object, told: str) -> None:
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    profile = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    good: Object = {
        "securityContext": profile,
        "containers": [{"name": "c", "securityContext": own}],
    }
    assert list(violations(good)) == []
    assert told in list(violations({**good, **change}))


def test_nothing_is_written_where_it_would_not_be_expected(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"]["memory"], name
            assert not container["image"].endswith(":latest")


def test_only_the_operator_speaks_with_the_api_server(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        has_token = pod["automountServiceAccountToken"]
        assert has_token is name.endswith("-operator"), name
        assert ("serviceAccountName" in pod) is has_token, name
