"""
Renders the chart with a real helm, for tests.

Rendering needs no cluster. It uses the helm on PATH, and those that the lab cluster's tool has
built. Helm 3 and helm 4 check different things, so tests use both if both are there.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).parents[5] / "charts" / "postroad"
RELEASE = "post"
NAMESPACE = "mail"
PREFIX = "post-postroad"  # what the names of this release's objects begin with

_NAMES = ("helm", "helm3", "helm4")

Object = dict[str, Any]


class ChartRefused(Exception):
    """Helm refused to render the chart; the text is helm's error."""


def helms() -> list["Helm"]:
    """Return every helm there is, each once."""
    home = Path(os.environ.get("KUBELAB_HOME", "~/.cache/kubelab")).expanduser()
    found = [shutil.which(name) or shutil.which(name, path=str(home / "bin")) for name in _NAMES]
    return [Helm(path) for path in sorted({str(Path(p).resolve()) for p in found if p})]


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm."""

    binary: str

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run it without a cluster, whatever the machine's own settings are."""
        env = {**os.environ, "KUBECONFIG": os.devnull}
        return subprocess.run([self.binary, *args], capture_output=True, text=True, env=env)

    def render(self, values: Mapping[str, object], *, kubernetes: str = "1.34.0") -> list[Object]:
        """
        Return the chart's objects; ChartRefused when there are none.

        The CustomResourceDefinitions are left out: they are large and have their own tests.
        """
        chosen = {**values, "crds.enabled": False}
        text = self.template(*_flags(chosen), f"--kube-version={kubernetes}")
        return list(_objects(text))

    def template(self, *flags: str) -> str:
        """Return what `helm template` prints; ChartRefused when it complains."""
        done = self.run("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", *flags)
        if done.returncode:
            raise ChartRefused(done.stderr)
        return done.stdout


def _flags(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        yield f"--set={name}={shown}"


def _objects(text: str) -> Iterator[Object]:
    for document in text.removeprefix("---\n").split("\n---\n"):
        found = YAML(typ="safe").load(document)
        if found:
            yield found


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the one object of this kind with this name, without the release's prefix."""
    wanted = (kind, f"{PREFIX}{name and '-'}{name}")
    (found,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == wanted)
    return found


def pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Yield every pod there would be: the name of its object, and its spec."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif each["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def environment(objects: Iterable[Object], kind: str, name: str) -> dict[str, str]:
    """Return the variables of an object's only container; "" for what comes from elsewhere."""
    (container,) = named(objects, kind, name)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}
