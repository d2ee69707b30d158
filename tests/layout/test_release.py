"""The parts of a release: one version everywhere, and archives that anybody can reproduce."""

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
WORKFLOWS = ROOT / ".github" / "workflows"
MAKEFILE = (ROOT / "Makefile").read_text()
BY_DIGEST = re.compile(r"([a-z0-9./-]+:[A-Za-z0-9._-]+)@sha256:([0-9a-f]{64})")
# What names images by digest.
NAMING = [
    *sorted(ROOT.glob("services/*/Dockerfile")),
    ROOT / "operator" / "Dockerfile",
    ROOT / "services" / "docker-bake.json",
    *sorted(WORKFLOWS.glob("*.yml")),
]
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
    assert f"--file {target['dockerfile']} " in dry_run(f"image-{image}")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_on_a_digest_and_gets_a_bill(image: str) -> None:
    built = dry_run(f"image-{image}")
    base = rf"{re.escape(base_tag())}@sha256:[0-9a-f]{{64}}"
    assert re.search(rf"--build-arg BASE_IMAGE={base} ", built)
    assert re.search(rf"--network none .* --base {base} .*>build/bills/{image}\.cdx\.json", built)
    pinned = [line for line in dockerfile(image).splitlines() if line.startswith(("ARG", "FROM"))]
    assert re.fullmatch(rf"ARG BASE_IMAGE={base}", pinned[0])
    assert {line.split()[1] for line in pinned[1:]} == {"${BASE_IMAGE}"}


def test_another_base_image_can_be_taken() -> None:
    built = dry_run("image-ingress", "BASE_IMAGE=example:1")
    assert "--build-arg BASE_IMAGE=example:1 " in built
    assert "--base example:1 " in built


def test_all_images_are_built_on_the_same() -> None:
    assert len({dockerfile(image).partition("ARG ")[2].splitlines()[0] for image in IMAGES}) == 1


def test_digests_are_renewed_wherever_they_are(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho sha256:{'1' * 64}\n")
    docker.chmod(0o755)
    copies = [tmp_path / str(n) for n, _ in enumerate(NAMING)]
    for path, copy in zip(NAMING, copies, strict=True):
        copy.write_text(path.read_text())
    words = [f"DOCKER={docker}", f"PINNED={' '.join(map(str, copies))}"]
    done = subprocess.run(
        ["make", "digests", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    renewed = "".join(path.read_text() for path in copies)
    assert {match[2] for match in BY_DIGEST.finditer(renewed)} == {"1" * 64}
    before = "".join(path.read_text() for path in NAMING)
    tags = {match[1] for match in BY_DIGEST.finditer(before)}
    assert base_tag() in tags
    assert done.stdout.splitlines() == [f"{tag}@sha256:{'1' * 64}" for tag in sorted(tags)]


def test_a_registry_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "Dockerfile"
    copy.write_text(dockerfile("ingress"))
    done = subprocess.run(
        ["make", "digests", "DOCKER=false", f"PINNED={copy}"], cwd=ROOT, capture_output=True
    )
    assert done.returncode != 0
    assert copy.read_text() == dockerfile("ingress")


def test_the_builder_is_named_by_digest() -> None:
    steps = yaml(WORKFLOWS / "release.yml")["jobs"]["images"]["steps"]
    given = {str(step.get("uses", "")).partition("@")[0]: step.get("with", {}) for step in steps}
    images = [
        given["docker/setup-qemu-action"]["image"],
        given["docker/setup-buildx-action"]["driver-opts"].removeprefix("image="),
    ]
    (bill,) = (each for each in BAKE["target"]["_image"]["attest"] if "type=sbom" in each)
    images.append(bill.partition("generator=")[2])
    assert all(BY_DIGEST.fullmatch(image) for image in images)


def dry_run(*words: str) -> str:
    """The commands that make would run, each on a line of its own."""
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.replace("\\\n", " ")


def dockerfile(image: str) -> str:
    return (ROOT / str(BAKE["target"][image]["dockerfile"])).read_text()


def base_tag() -> str:
    """The base image without its digest."""
    (image,) = re.findall(r"^ARG BASE_IMAGE=(\S+)@", dockerfile("nats"), re.MULTILINE)
    return str(image)


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


@pytest.mark.parametrize("path", sorted(WORKFLOWS.iterdir()), ids=lambda path: path.stem)
def test_a_workflow_trusts_no_tag_that_can_move_and_has_no_right_it_does_not_need(
    path: Path,
) -> None:
    said = yaml(path)
    assert said["permissions"] == {}
    steps = [step for job in said["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each) for each in used)
    first, *_ = said["jobs"].values()
    assert first["permissions"] == {"contents": "read"}


def test_the_workflow_builds_by_make_and_signs_every_image() -> None:
    said = yaml(WORKFLOWS / "release.yml")
    run = "\n".join(
        step["run"] for job in said["jobs"].values() for step in job["steps"] if "run" in step
    )
    assert "make release\n" in f"{run}\n"
    assert f"for image in {' '.join(IMAGES)}; do" in run
    assert "--requirement requirements/tools.txt\ntools/bin/uv publish" in run
