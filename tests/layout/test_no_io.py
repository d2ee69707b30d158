"""
Decisions are pure: a module whose docstring says "No I/O." imports no client, socket or clock.

Nor does what it imports, and a package's docstring speaks for all its modules. So a decision is
declared where it is read, and not in a list of modules far away.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
CONTRACT = "the protocol core and the decisions do no I/O and read no clock"


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("postroad", include_external_packages=True, cache_dir=None)


def contract() -> dict[str, list[str]]:
    """Return what `make check` holds whole packages to."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [found] = [
        each for each in settings["tool"]["importlinter"]["contracts"] if each["name"] == CONTRACT
    ]
    return dict(found)


def pure() -> Iterator[str]:
    """Yield the modules and packages that say so."""
    for source in [*ROOT.glob("services/*/src"), ROOT / "operator/src"]:
        for path in sorted(source.rglob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if "No I/O" in said:
                name = ".".join(path.relative_to(source).with_suffix("").parts)
                yield name.removesuffix(".__init__")


def test_what_says_that_it_does_no_io_imports_nothing_that_does(
    imports: grimp.ImportGraph,
) -> None:
    known = set(contract()["forbidden_modules"]) & imports.modules
    chains = {
        name: chain
        for name in pure()
        for impure in known
        if (chain := imports.find_shortest_chain(name, impure, as_packages=True))
    }
    assert chains == {}


def test_the_core_and_the_decisions_of_each_process_say_it() -> None:
    said = tuple(pure())
    for package in contract()["source_modules"]:
        assert package in said
    for process in ("ingress", "delivery", "operator", "manifests", "spool"):
        assert any(name.startswith(f"postroad.{process}.") for name in said), process
