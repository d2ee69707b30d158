"""The contents of the wheel: the product and the test doubles, no part of the harness."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from postroad.testing.patience import patient

ROOT = Path(__file__).parents[2]
SHIPPED = (*ROOT.glob("services/*/src"), ROOT / "operator" / "src", ROOT / "proto")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules in the wheel that this checkout builds."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-Im", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    subprocess.run((*pip, *options), check=True, timeout=patient(50), env=environment)
    (wheel,) = folder.glob("postroad-*.whl")
    return {name for name in ZipFile(wheel).namelist() if name.endswith(".py")}


def test_the_wheel_is_what_ships_and_no_harness(modules: set[str]) -> None:
    here = {path.relative_to(root).as_posix() for root in SHIPPED for path in root.rglob("*.py")}
    assert modules == here
    assert {Path(name).parts[0] for name in modules} == {"postroad"}
