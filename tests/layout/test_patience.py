"""The time limits of tests: $POSTROAD_TEST_PATIENCE multiplies all of them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.testing.patience import patient

TESTS = Path(__file__).parents[1]
LIMITED = """\
import threading
import pytest


@pytest.mark.timeout(0.3)
def test_something_slow():
    threading.Event().wait(0.6)
"""
WAITS = {"asyncio.timeout", "asyncio.wait_for"}
PLAIN = 3  # seconds up to which a limit may be meant: that nothing happens within it


def run_limited(folder: Path, patience: str) -> str:
    (folder / "test_limited.py").write_text(LIMITED)
    (folder / "pytest.ini").write_text("[pytest]\n")
    plugin = ("-p", "postroad_harness.pytest_patience", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-Im", "pytest", "-q", *plugin, str(folder)],
        env={**os.environ, "POSTROAD_TEST_PATIENCE": patience},
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_limit_of_a_test_grows(tmp_path: Path) -> None:
    assert "Timeout" in run_limited(tmp_path, "1")
    assert "1 passed" in run_limited(tmp_path, "100")


def test_what_is_waited_for_within_a_test_gets_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROAD_TEST_PATIENCE", raising=False)
    assert patient(20) == 20
    monkeypatch.setenv("POSTROAD_TEST_PATIENCE", "2.5")
    assert patient(20) == 50


def plain_limits(path: Path) -> list[str]:
    """Return where a file waits for so and so many seconds whatever the machine."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WAITS:
            found += [
                f"{path.relative_to(TESTS)}:{node.lineno}"
                for argument in [*node.args, *(word.value for word in node.keywords)]
                if isinstance(argument, ast.Constant)
                and isinstance(argument.value, int | float)
                and argument.value >= PLAIN
            ]
    return found


def test_no_test_waits_a_fixed_time() -> None:
    plain = [
        place
        for path in sorted(TESTS.rglob("*.py"))
        if "cluster" not in path.parts
        for place in plain_limits(path)
    ]
    assert plain == [], "say patient(seconds), from postroad.testing.patience"
