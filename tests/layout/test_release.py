"""What a release is made of: one version everywhere, archives that anybody can build again."""

import hashlib
import json
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from postroad.testing.patience import patient
from postroad_harness.cluster.chart import helms
from postroad_harness.left_out import leave_out

ROOT = Path(__file__).parents[2]
BAKE = json.loads((ROOT / "services" / "docker-bake.json").read_text())
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
MAKEFILE = (ROOT / "Makefile").read_text()
IMAGES = re.findall(r"^IMAGES := (.*)$", MAKEFILE, re.MULTILINE)[0].split()


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def test_code_chart_and_images_have_one_version() -> None:
    chart = yaml(ROOT / "charts" / "postroad" / "Chart.yaml")
    tag = BAKE["variable"]["TAG"]["default"]
    assert {chart["version"], chart["appVersion"], tag} == {version()}
    assert f"\n## [{version()}] - " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_for_both_architectures_as_make_builds_it(image: str) -> None:
    target = BAKE["target"]["_image"] | BAKE["target"][image]
    assert target["platforms"] == ["linux/amd64", "linux/arm64"]
    assert target["tags"] == [f"${{IMAGE_PREFIX}}/{image}:${{TAG}}"]
    assert image in BAKE["group"]["default"]["targets"]
    done = subprocess.run(
        ["make", "--dry-run", f"image-{image}"], cwd=ROOT, capture_output=True, text=True
    )
    assert f"--file {target['dockerfile']} " in done.stdout


def test_whoever_builds_the_packages_gets_the_same(tmp_path: Path) -> None:
    """Some 6 s: what a release consists of is built twice."""
    found = helms()
    if not found:
        leave_out("there is no helm on PATH, and the lab cluster's tool has built none")
    built = [packages(tmp_path / name, found[0].binary) for name in ("one", "other")]
    name = f"postroad-{version()}"
    archives = {f"{name}-py3-none-any.whl", f"{name}.tar.gz"}
    assert set(built[0]) == {*archives, f"{name}.tgz", f"{name}-images.json"}
    for archive in archives:
        assert built[0][archive] == built[1][archive], archive
    with tarfile.open(tmp_path / "one" / f"{name}.tgz") as chart:
        assert "postroad/Chart.yaml" in chart.getnames()


def packages(folder: Path, helm: str) -> dict[str, str]:
    """Build them into a folder; return the checksum of each."""
    command = ["make", "packages", f"DIST={folder}", f"HELM={helm}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=patient(50))
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}


def test_packing_without_helm_says_what_to_do(tmp_path: Path) -> None:
    command = ["make", "packages", f"DIST={tmp_path / 'dist'}", "HELM=no-such-helm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs helm, and no-such-helm is not there; install it and try again" in done.stderr


def test_the_workflow_trusts_no_tag_that_can_move_and_has_no_right_it_does_not_need() -> None:
    said = yaml(WORKFLOW)
    assert said["permissions"] == {}
    steps = [step for job in said["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each) for each in used)
    assert said["jobs"]["build"]["permissions"] == {"contents": "read"}


def test_the_workflow_builds_by_make_and_signs_every_image() -> None:
    said = yaml(WORKFLOW)
    run = "\n".join(
        step["run"] for job in said["jobs"].values() for step in job["steps"] if "run" in step
    )
    assert "make release\n" in f"{run}\n"
    assert f"for image in {' '.join(IMAGES)}; do" in run
    uv = re.findall(r"uv==([\d.]+)", MAKEFILE)
    assert re.findall(r"uv==([\d.]+)", run) == uv
