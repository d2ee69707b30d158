"""The processes understand all settings that the chart gives them, and need no others."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from postroad.cli.target.connect import CommandSettings
from postroad.delivery.settings import DeliverySettings
from postroad.ingress.settings import IngressSettings
from postroad.operator.settings import OperatorSettings
from postroad.process.entry import RuntimeSettings
from postroad.process.settings import describe, load
from postroad_harness.cluster.chart import Object

PROCESSES: Mapping[str, type[Any]] = {
    "ingress": IngressSettings,
    "delivery": DeliverySettings,
    "operator": OperatorSettings,
}
CLOSING = timedelta(seconds=10)  # what a process may take after its drain


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield each container of a process, by its role, with its pod's spec beside it."""
    for each in objects:
        role = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if each["kind"] == "Deployment" and role in PROCESSES:
            yield role, each["spec"]["template"]["spec"]


def variables(pod: Object) -> dict[str, str]:
    (container,) = pod["containers"]
    return {each["name"]: each.get("value", _from_elsewhere(each)) for each in container["env"]}


def _from_elsewhere(variable: Object) -> str:
    """Return what the cluster may bring: octets for what a container may use, else a word."""
    return "536870912" if "resourceFieldRef" in variable.get("valueFrom", {}) else "from-elsewhere"


def settings(role: str, pod: Object) -> tuple[RuntimeSettings, Any]:
    said = brought(pod)
    return load(RuntimeSettings, said), load(PROCESSES[role], said)


def brought(pod: Object) -> dict[str, str]:
    """Return the variables with the secrets in them: the files are the cluster's to bring."""
    return {name.replace("PASSWORD_FILE", "PASSWORD"): t for name, t in variables(pod).items()}


def test_every_variable_is_a_setting_and_every_value_is_understood(objects: list[Object]) -> None:
    for role, pod in containers(objects):
        runtime, own = settings(role, pod)
        known = {*describe(runtime), *describe(own)}
        if role == "operator":
            known |= set(describe(load(CommandSettings, brought(pod))))
        assert set(brought(pod)) <= known


def test_a_process_ends_before_it_is_killed(objects: list[Object]) -> None:
    for role, pod in containers(objects):
        runtime, own = settings(role, pod)
        (container,) = pod["containers"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = timedelta(seconds=pod["terminationGracePeriodSeconds"] - pause)
        assert runtime.drain_timeout + CLOSING < grace
        if role == "ingress":
            assert timedelta(seconds=20) <= own.data_drain < runtime.drain_timeout
        elif role == "delivery":
            assert timedelta(seconds=15) <= own.finish < runtime.drain_timeout
