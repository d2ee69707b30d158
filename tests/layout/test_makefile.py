"""What `make` says, checks and installs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


def make(*words: str) -> str:
    """Return what make prints."""
    said = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout


def test_help_names_every_target_and_each_in_a_group() -> None:
    ungrouped, *groups = make("help").split("\n\n")
    assert len(groups) > 3
    grouped = [re.findall(r"^  make ([a-z0-9]+) +\S", group, re.M) for group in groups]
    assert all(grouped)
    shown = [name for names in grouped for name in names]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [targets] = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    words = re.sub(r"\$\(.*?\)", "", targets).split()  # an image each, which `images` stands for
    assert sorted(shown) == sorted(set(words) - {"help"})
    assert "make help" in ungrouped


def test_before_a_commit_git_runs_what_make_check_runs() -> None:
    # An environment that is older than what it is made of is renewed first, by Python and a shell.
    others = (".venv/bin/python", ".venv/bin/uv")
    lines = [line for line in make("--dry-run", "check").splitlines() if line.startswith(".venv/")]
    checks = [shlex.split(line) for line in lines if not line.startswith(others)]
    config = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")
    entries = [shlex.split(hook["entry"]) for repo in config["repos"] for hook in repo["hooks"]]
    assert len(checks) >= 5
    # ruff has two: what it does is its first argument.
    assert {tuple(words[: 1 + words[0].endswith("ruff")]) for words in entries} == {
        tuple(words[: 1 + words[0].endswith("ruff")]) for words in checks
    }


@pytest.mark.parametrize(
    ("target", "with_tools"), [("run", False), ("demo", False), ("setup", True), ("test", True)]
)
def test_tools_are_installed_for_those_who_need_them(
    tmp_path: Path, target: str, with_tools: bool
) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target, f"VENV={tmp_path / 'nothing'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--editable '.[cli]'" in done.stdout
    assert "/run.txt" in done.stdout
    assert ("/development.txt" in done.stdout) is with_tools


def install(folder: Path, pip: str) -> "subprocess.CompletedProcess[str]":
    """Install what running needs into a folder, with a command in pip's place."""
    words = [f"VENV={folder}", f"PYTHON={sys.executable}", f"PIP={pip}", f"{folder}/.runs"]
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)


def test_what_is_installed_is_shown_as_it_comes(tmp_path: Path) -> None:
    said = "echo Collecting uvloop==1 from a file;echo Installing collected packages: uvloop;true"
    done = install(tmp_path, said)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  uvloop\n  writing them into {tmp_path}\n" in done.stdout


def test_an_installation_that_failed_is_begun_anew(tmp_path: Path) -> None:
    assert install(tmp_path, "echo Collecting uvloop;test -z").returncode != 0
    assert not (tmp_path / ".runs").exists()
