"""Libraries that other libraries load when they find them stay out of the data plane."""

import subprocess
import sys

import pytest

_START = """
import contextlib, sys
from postroad.{role}.__main__ import main
sys.argv = ["postroad-{role}", "--help"]
with contextlib.suppress(SystemExit):
    main()
for name in ("aiohttp", "pygments", "rich"):
    if sys.modules.get(name) is not None:
        print("loaded:", name)
"""


@pytest.mark.parametrize("role", ["ingress", "delivery"])
def test_a_process_loads_no_library_that_mail_does_not_need(role: str) -> None:
    """They are installed here, as on each machine with `postroad up`."""
    start = [sys.executable, "-Ic", _START.format(role=role)]
    done = subprocess.run(start, capture_output=True, text=True, check=True)
    assert f"one {role} process" in done.stdout
    assert "loaded:" not in done.stdout
