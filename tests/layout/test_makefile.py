"""What `make` installs: for running the relay, and for testing everything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
