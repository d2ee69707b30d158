"""What `make` installs: for running only what runs, for testing everything."""

import subprocess
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
    assert ("--group dev" in done.stdout) is with_tools
