"""A loop that nobody awaits begins again after an error that nobody planned for."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOTS = [*ROOT.glob("services/*/src"), ROOT / "operator/src"]


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for root in ROOTS:
        for path in root.rglob("*.py"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def endless_loops() -> set[str]:
    """Return the names of all coroutine functions that loop until they are cancelled."""
    return {
        function.name
        for _, tree in trees()
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.While)
        and isinstance(node.test, ast.Constant)
        and not any(isinstance(each, ast.Return) for each in ast.walk(node))
    }


def test_no_endless_loop_is_spawned_for_once() -> None:
    """`Process.spawn`, which takes a name as well, ends the process instead."""
    endless = endless_loops()
    spawned = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, tree in trees()
        for call in ast.walk(tree)
        if path.name != "tasks.py"  # the home of `keep`
        and isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "spawn"
        and len(call.args) == 1
        and isinstance(work := call.args[0], ast.Call)
        and getattr(work.func, "attr", getattr(work.func, "id", "")) in endless
    ]
    assert "_housekeep" in endless
    assert spawned == [], "use `keep`: otherwise the process goes on without this part"
