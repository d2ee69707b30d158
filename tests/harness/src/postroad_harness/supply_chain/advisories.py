"""
The snapshot of advisories that `make audit` reads: what OSV knows of the packages we pin.

    python -Im postroad_harness.supply_chain.advisories requirements requirements/advisories.json

OSV (osv.dev) publishes a ZIP file of all advisories for each ecosystem, in one form
(https://ossf.github.io/osv-schema/). The snapshot keeps the records that concern us, without their
long texts, and names the packages that were looked for: one that is pinned later is not covered.
"""

import argparse
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from packaging.utils import canonicalize_name

from postroad_harness.supply_chain import pins
from postroad_harness.supply_chain.bill import PROGRAMS

OSV = "https://osv-vulnerabilities.storage.googleapis.com"
# Those of PyPA, GitHub and Go; the records of malicious packages are under Apache-2.0.
LICENCE = "CC-BY-4.0"
_LONGEST = 200  # characters of a summary

Package = tuple[str, str]  # ecosystem and name, as OSV has them


def concerned(pinned: Iterable[pins.Pin]) -> dict[Package, str]:
    """Return the versions of what advisories may be about: packages, and programs in them."""
    found: dict[Package, str] = {}
    for pin in pinned:
        found["PyPI", pin.name] = pin.version
        if pin.name in PROGRAMS:
            found["Go", PROGRAMS[pin.name][1]] = pin.version
    return found


def excerpt(record: Mapping[str, Any], wanted: Container[Package]) -> dict[str, Any] | None:
    """Return what an audit reads of a record, if it is about packages that are wanted."""
    about = [each for each in record.get("affected", ()) if _package(each) in wanted]
    if not about or "withdrawn" in record:
        return None
    # Some sources write no summary.
    text = record.get("summary") or record.get("details", "").strip().partition("\n")[0]
    return {
        "id": record["id"],
        "aliases": record.get("aliases", []),
        "summary": text[:_LONGEST],
        "affected": [_affected(each) for each in about],
    }


def _package(affected: Mapping[str, Any]) -> Package:
    package = affected.get("package", {})
    ecosystem, name = package.get("ecosystem", ""), package.get("name", "")
    return ecosystem, canonicalize_name(name) if ecosystem == "PyPI" else name


def _affected(affected: Mapping[str, Any]) -> dict[str, Any]:
    ecosystem, name = _package(affected)
    ranges = [each for each in affected.get("ranges", ()) if each.get("type") != "GIT"]
    return {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": each["type"], "events": each["events"]} for each in ranges],
        "versions": affected.get("versions", []),
    }


def snapshot(
    records: Iterable[Mapping[str, Any]], wanted: Iterable[Package], source: str
) -> dict[str, Any]:
    """Return what is written into the file; it is as old as the newest of all records."""
    those = sorted(wanted)
    kept, newest, looked_through = [], "", 0
    for record in records:
        looked_through += 1
        newest = max(newest, record["modified"])
        if (found := excerpt(record, those)) is not None:
            kept.append(found)
    return {
        "source": source,
        "licence": LICENCE,
        "newest": newest,
        "looked_through": looked_through,
        "packages": [list(each) for each in those],
        "advisories": sorted(kept, key=lambda record: str(record["id"])),
    }


def fetch(source: str, ecosystem: str) -> Iterator[dict[str, Any]]:
    """Read all records of an ecosystem; raises OSError or BadZipFile."""
    url = f"{source}/{ecosystem}/all.zip"
    with tempfile.TemporaryFile() as file:
        # The scheme is whoever calls make's choice: https, or file for a copy.
        with urllib.request.urlopen(url, timeout=60) as came:  # noqa: S310
            shutil.copyfileobj(came, file)
        with ZipFile(file) as archive:
            for name in archive.namelist():
                yield json.loads(archive.read(name))


def main(arguments: Sequence[str]) -> str | None:
    """Write the snapshot; return what was wrong, and then the one that is there stays."""
    parser = argparse.ArgumentParser(description="Fetch what is known of the packages we pin.")
    parser.add_argument("requirements", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--source", default=OSV, help="where ECOSYSTEM/all.zip is, as a URL")
    said = parser.parse_args(arguments)
    pinned = [pin for those in pins.read_all(said.requirements).values() for pin in those]
    wanted = concerned(pinned)
    ecosystems = sorted({ecosystem for ecosystem, _ in wanted})
    records = (record for each in ecosystems for record in fetch(said.source, each))
    try:
        made = snapshot(records, wanted, said.source)
    except (OSError, BadZipFile, ValueError, KeyError) as error:
        return f"The advisories cannot be read from {said.source}: {error!r}"
    if not made["looked_through"]:
        return f"There are no advisories in {said.source}."
    said.file.write_text(json.dumps(made, indent=1) + "\n")
    count, found = made["looked_through"], len(made["advisories"])
    print(f"Advisories looked through: {count:,}. About what we pin: {found}.")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
