"""
The audit: does an advisory apply to a package at the version that requirements/ pins?

    python -Im postroad_harness.supply_chain.audit requirements requirements/advisories.json

It reads the snapshot and asks nobody, so it says the same on every machine. Whatever it cannot
judge counts against the package: a range that it cannot read, a package that nobody looked for.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from postroad.mail.visible import visible
from postroad_harness.supply_chain import advisories, pins

_EVENTS = ("introduced", "fixed", "last_affected")


@dataclass(frozen=True, slots=True)
class Finding:
    """An advisory that applies. `fixed` is the version that ends it, if there is one."""

    name: str
    version: str
    ids: tuple[str, ...]
    summary: str
    fixed: str | None

    def __str__(self) -> str:
        first, *others = self.ids
        known_as = f"{first} ({', '.join(others)})" if others else first
        end = f"fixed in {self.fixed}" if self.fixed else "no version fixes it yet"
        return visible(f"{self.name} {self.version}: {known_as}: {self.summary}; {end}")


def uncovered(wanted: Mapping[advisories.Package, str], snapshot: Mapping[str, Any]) -> list[str]:
    """Return the packages that the snapshot knows nothing of, because nobody looked for them."""
    known = {tuple(each) for each in snapshot["packages"]}
    return sorted(name for ecosystem, name in wanted if (ecosystem, name) not in known)


def findings(
    wanted: Mapping[advisories.Package, str], snapshot: Mapping[str, Any]
) -> Iterator[Finding]:
    """Return what applies; an advisory that several sources have under names of theirs, once."""
    told: set[tuple[str, str]] = set()
    for record in snapshot["advisories"]:
        ids = (record["id"], *record["aliases"])
        for affected in record["affected"]:
            package = affected["package"]["ecosystem"], affected["package"]["name"]
            version = wanted.get(package)
            if version is None or any((package[1], each) in told for each in ids):
                continue
            applies, fixed = _applies(version, affected)
            if applies:
                told.update((package[1], each) for each in ids)
                yield Finding(package[1], version, ids, record["summary"], fixed)


def _applies(version: str, affected: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether a version is affected, and which version is not any more."""
    try:
        ours = Version(version)
        for each in affected["ranges"]:
            inside, fixed = _in_range(ours, each["events"])
            if inside:
                return True, fixed
    except InvalidVersion:
        return True, None
    return version in affected["versions"], None


def _in_range(ours: Version, events: Sequence[Mapping[str, str]]) -> tuple[bool, str | None]:
    """
    Follow the events of a range up to our version, then on to the one that ends it.

    They are `introduced` (`0`: from the first version on), `fixed` and `last_affected`
    (https://ossf.github.io/osv-schema/#affectedrangesevents-fields).
    """
    every = [(kind, version) for event in events for kind, version in event.items()]
    steps = sorted((Version(version), kind) for kind, version in every if kind in _EVENTS)
    inside = False
    for at, kind in steps:
        if kind == "introduced" and at <= ours:
            inside = True
        elif at < ours or (kind == "fixed" and at == ours):
            inside = False
    later = [str(at) for at, kind in steps if kind == "fixed" and at > ours]
    return inside, later[0] if later else None


def main(arguments: Sequence[str]) -> str | None:
    """Print what applies; return why the audit fails, if it does."""
    parser = argparse.ArgumentParser(description="Look for advisories about what we pin.")
    parser.add_argument("requirements", type=Path)
    parser.add_argument("file", type=Path)
    said = parser.parse_args(arguments)
    if not said.file.exists():
        return f"There is no {said.file} to compare with: 'make advisories' fetches it."
    snapshot = json.loads(said.file.read_text())
    pinned = [pin for those in pins.read_all(said.requirements).values() for pin in those]
    wanted = advisories.concerned(pinned)
    found = [*findings(wanted, snapshot)]
    for finding in found:
        print(finding)
    when = f"by advisories up to {snapshot['newest']} ({snapshot['source']})"
    if missing := uncovered(wanted, snapshot):
        return f"Nobody looked for {', '.join(missing)}: 'make advisories' does. (Judged {when}.)"
    if found:
        apply = "1 advisory applies" if len(found) == 1 else f"{len(found)} advisories apply"
        return f"{apply} to what is pinned, {when}."
    print(f"Packages without an advisory that applies: {len(wanted)}, {when}.")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
