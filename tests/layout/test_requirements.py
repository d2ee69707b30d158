"""Whatever is installed from others is a file whose hash is in requirements/."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from postroad.testing.patience import patient
from postroad_harness.supply_chain import pins

ROOT = Path(__file__).parents[2]
PINNED = pins.read_all(ROOT / "requirements")
EVERYTHING = {pin.name: pin for pin in PINNED["development"]}
INSTALLERS = (
    ROOT / "Makefile",
    ROOT / ".ci" / "run",
    *sorted(ROOT.glob(".github/workflows/*.yml")),
    *sorted(ROOT.glob("services/*/Dockerfile")),
    ROOT / "operator" / "Dockerfile",
)
# The first word of what an install must say: compare hashes, or take nothing from an index.
SAFE = ("--require-hashes", "$(VERIFIED)", "--no-index")


def test_every_pin_has_hashes() -> None:
    assert len(EVERYTHING) > 80
    bare = [
        f"{file}: {pin.name}" for file, those in PINNED.items() for pin in those if not pin.hashes
    ]
    assert bare == [], "make lock writes them"


def test_every_process_gets_what_the_tests_ran_with() -> None:
    others = {file: those for file, those in PINNED.items() if file not in ("development", "tools")}
    assert {"build", "run", "ingress", "delivery", "operator", "nats"} <= set(others)
    for file, those in others.items():
        assert [pin for pin in those if EVERYTHING.get(pin.name) != pin] == [], file


def test_what_npm_installs_for_the_benchmarks_has_hashes_too() -> None:
    servers = ROOT / "tests/harness/src/postroad_harness/bench/servers"
    locked = json.loads((servers / "haraka_npm" / "package-lock.json").read_text())["packages"]
    top = locked.pop("")
    version = top["dependencies"]["Haraka"]
    assert locked["node_modules/Haraka"]["version"] == version
    assert [name for name, said in locked.items() if "integrity" not in said] == []
    assert '"ci"' in (servers / "haraka.py").read_text()


def wanted() -> Iterator[Requirement]:
    """Whatever pyproject.toml asks for by name, but its own extras."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        said["build-system"]["requires"],
        said["project"]["dependencies"],
        *said["project"]["optional-dependencies"].values(),
        *said["dependency-groups"].values(),
    ]
    every = (Requirement(each) for those in lists for each in those)
    return (each for each in every if each.name != "postroad")


def test_what_the_project_asks_for_is_pinned() -> None:
    tools = {pin.name: pin for pin in PINNED["tools"]}
    for each in wanted():
        name = canonicalize_name(each.name)
        pin = EVERYTHING.get(name) or tools.get(name)
        assert pin is not None, f"{each.name}: run make lock"
        assert pin.version in each.specifier, f"{each}: run make lock"


def installs(path: Path) -> Iterator[str]:
    """The commands of a file that install packages of Python."""
    whole = path.read_text().replace("\\\n", " ")
    for line in whole.splitlines():
        for command in re.split(r"&&|\|\||;", line):
            if re.search(r"(\bpip\b|\$\(PIP\)).*\s(install|wheel)\b|\$\(PIP\) --", command):
                yield command.strip()


@pytest.mark.parametrize("path", INSTALLERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_installed_without_a_look_at_its_hash(path: Path) -> None:
    for command in installs(path):
        if command.startswith(("#", "PIP =")):
            continue
        assert any(word in command for word in SAFE), command
        if "--require-hashes" in command:
            assert "--only-binary :all:" in command, command


def test_the_scan_sees_an_install_in_each_form() -> None:
    found = {path.name: [*installs(path)] for path in INSTALLERS}
    assert len(found["Makefile"]) >= 5
    assert len(found["Dockerfile"]) == 4  # the operator's, which is read last


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wheel, and requirements to which each test adds what running needs."""
    about = "example_of_hashes-1.0.dist-info"
    with ZipFile(tmp_path / "example_of_hashes-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: example-of-hashes\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    (tmp_path / "build.txt").write_text("")
    return tmp_path


def make(folder: Path, pip: str = "") -> "subprocess.CompletedProcess[str]":
    """Let make install what running needs, of what the folder has, and change nothing."""
    pip = pip or f"{sys.executable} -Im pip install --dry-run --no-index --find-links {folder}"
    words = [f"VENV={folder}", f"PYTHON={sys.executable}", f"PIP={pip}", f"REQUIREMENTS={folder}"]
    return subprocess.run(
        ["make", *words, f"{folder}/.runs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(50),
    )


def test_a_file_with_its_hash_is_installed(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "run.txt").write_text(f"example-of-hashes==1.0 --hash=sha256:{digest}\n")
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / ".runs").exists()


def test_a_version_that_moved_without_its_hash_is_not_installed(folder: Path) -> None:
    (folder / "run.txt").write_text(f"example-of-hashes==1.0 --hash=sha256:{'0' * 64}\n")
    done = make(folder)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert f"Expected sha256 {'0' * 64}" in done.stderr
    assert not (folder / ".runs").exists()


def test_a_version_without_a_hash_is_not_installed(folder: Path) -> None:
    (folder / "run.txt").write_text("example-of-hashes==1.0\n")
    done = make(folder)
    assert done.returncode != 0
    assert "Hashes are required in --require-hashes mode" in done.stderr
    assert not (folder / ".runs").exists()


def test_what_pyproject_wants_and_nothing_pins_is_told(folder: Path) -> None:
    (folder / "run.txt").write_text("")
    pip = f"{sys.executable} -c 'import sys; sys.exit(\"--editable\" in sys.argv)'"
    done = make(folder, pip)
    assert done.returncode != 0
    assert "pyproject.toml wants what" in done.stderr
    assert "run 'make lock', and commit what it writes" in done.stderr
    assert not (folder / ".runs").exists()
