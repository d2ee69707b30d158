"""The exceptions to the check for dead code in `make check`: each is still needed."""

import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_name_is_excepted_that_is_not_taken_for_dead() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["vulture"]
    options = [
        f"--exclude={','.join(config['exclude'])}",
        f"--min-confidence={config['min_confidence']}",
        "--ignore-names=",
        f"--ignore-decorators={','.join(config['ignore_decorators'])}",
    ]
    words = (sys.executable, "-Im", "vulture", *config["paths"], *options)
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout
    dead = {line.split("'")[1] for line in found.splitlines() if "'" in line}
    assert dead, found
    needless = [
        name for name in config["ignore_names"] if not any(fnmatch(each, name) for each in dead)
    ]
    assert needless == [], "no exception any more"
