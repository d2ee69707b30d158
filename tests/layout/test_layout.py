"""
The shape of the repository: a mistake in it gets an error that names the file.

`postroad` is a namespace package shared by several source roots. A stray `__init__.py` in one root
hides all the others, and one in `operator/` shadows a module of Python itself.
"""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What ships; and what only a checkout has.
SHIPPED_ROOTS = sorted(
    [path.relative_to(ROOT).as_posix() for path in ROOT.glob("services/*/src")]
    + ["operator/src", "proto"]
)
HARNESS_ROOT = "tests/harness/src"
SOURCE_ROOTS = sorted([*SHIPPED_ROOTS, HARNESS_ROOT])
LONGEST_FILE = 325  # lines; of 150 to 300 one can be read at once
LONGER = {
    # All that a queue promises; parted, the promises would have to be read in several places.
    "services/common/src/postroad/spool/interface.py": 393,
    # What a simulated server does, not parted yet.
    "tests/harness/src/postroad_harness/simulation/servers.py": 340,
    # One table, with a line or two for each mistake.
    "tests/policy/test_mistakes_of_fields.py": 359,
}
LONGEST_FUNCTION = 60
MOST_FILES = 12
LARGER = {"tests/harness/src/postroad_harness/simulation": 21}  # files, where it is not parted yet
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}


def sources() -> Iterator[Path]:
    for root in SOURCE_ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            if not path.name.endswith("_pb2.py"):
                yield path


def files_of_tests() -> Iterator[Path]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if not path.is_relative_to(ROOT / HARNESS_ROOT):
            yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_exception_is_still_needed() -> None:
    files = (*sources(), *files_of_tests())
    long = {named(path): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert [name for name in LONGER if long.get(name, 0) <= LONGEST_FILE] == []


def test_no_folder_of_a_namespace_is_a_package() -> None:
    bare = ["services", "operator", "proto", "charts", "tests"]
    bare += [f"{root}/postroad" for root in SHIPPED_ROOTS]
    strays = [folder for folder in bare if (ROOT / folder / "__init__.py").exists()]
    strays += [
        named(path)
        for path in (ROOT / "tests").rglob("__init__.py")
        if not path.is_relative_to(ROOT / HARNESS_ROOT)
    ]
    assert strays == [], "these hide every other part of the namespace: delete their __init__.py"


def test_every_source_root_is_installed_and_checked() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = config["tool"]["hatch"]["build"]
    assert sorted(build["dev-mode-dirs"]) == SOURCE_ROOTS
    assert sorted(build["targets"]["wheel"]["packages"]) == [f"{r}/postroad" for r in SHIPPED_ROOTS]
    assert sorted(config["tool"]["mypy"]["mypy_path"]) == SOURCE_ROOTS


def test_every_package_says_that_it_is_one() -> None:
    folders = {path.parent for path in sources()}
    assert [named(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", tuple(sources()), ids=named)
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "open it with what it is, in mail words, and why"
    assert path.stem not in EMPTY_NAMES, "name it by what it holds"
    assert text.count("\n") <= LONGER.get(named(path), LONGEST_FILE), "look for a seam"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A signature and a docstring are as long as they have to be.
            code = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno or 0) - code[0].lineno + 1 if code else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} takes {length} lines"


def test_a_test_is_found_by_the_name_of_its_file() -> None:
    lines = {named(path): path.read_text(encoding="utf-8").count("\n") for path in files_of_tests()}
    long = {name: n for name, n in lines.items() if n > LONGER.get(name, LONGEST_FILE)}
    assert long == {}, "part it by subject; what the parts share goes to postroad_harness.setups"


def test_what_decides_reads_no_clock() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        each for each in config["tool"]["importlinter"]["contracts"] if "no clock" in each["name"]
    )
    pure = tuple(contract["source_modules"])
    read = []
    for path in sources():
        root = next(each for each in SOURCE_ROOTS if path.is_relative_to(ROOT / each))
        module = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
        if not module.startswith(pure):
            continue
        read += [
            f"{named(path)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"now", "utcnow", "today"}
        ]
    assert read == [], "take the time as an argument"


def test_a_folder_says_what_goes_in_and_what_comes_out() -> None:
    shipped = [path for path in sources() if not path.is_relative_to(ROOT / HARNESS_ROOT)]
    modules = Counter(path.parent for path in shipped if path.name != "__init__.py")
    silent = []
    for folder in sorted(folder for folder, count in modules.items() if count > 1):
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        title, *paragraphs = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")
        told = any(re.match(r"In:\s.+\sOut:\s.+", each, re.DOTALL) for each in paragraphs)
        if "\n" in title or not told or text.count("\n") < 5:
            silent.append(named(folder))
    assert silent == [], "one line of what it is; then `In: … Out: …`, from whom and to whom"


def test_a_folder_can_be_looked_over() -> None:
    folders = {path.parent for path in sources()}
    files = {named(folder): len(list(folder.glob("*.py"))) for folder in folders}
    allowed = {folder: LARGER.get(folder, MOST_FILES) for folder in files}
    assert {f: n for f, n in files.items() if n > allowed[f]} == {}, "part it into rooms"
    assert {f for f in LARGER if files.get(f, 0) <= MOST_FILES} == set(), "no exception any more"


def types_in(tree: ast.Module) -> Iterator[str]:
    """Yield the names of classes, and of aliases such as `Network = IPv4Network | IPv6Network`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name


def test_no_type_name_means_two_things() -> None:
    homes: dict[str, set[str]] = {}
    for root in SHIPPED_ROOTS:
        for path in (ROOT / root).rglob("*.py"):
            if not path.name.endswith("_pb2.py"):
                for name in types_in(ast.parse(path.read_text(encoding="utf-8"))):
                    homes.setdefault(name, set()).add(named(path))
    twice = {name for name, there in homes.items() if len(there) > 1 and name[0] != "_"}
    assert twice == set(), "name one of the two for what it is"
