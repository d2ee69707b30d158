"""
Tests wait for an event, not for a fixed time.

A fixed wait is too short on a busy machine, and too long on all others. So a test waits for an
event, or polls in a loop with a limit. The exceptions are listed here: tests where time itself is
tested, or where nothing must happen, which is no event.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
EXCEPTIONS = {
    "cluster/test_05_nodes.py": "a node is cut off for a minute",
    "delivery/test_edited_limits.py": "that mail waits at a site, and stays there, is no event",
    "delivery/test_edits.py": "that mail waits at a site, and stays there, is no event",
    "delivery/test_orders_without_room.py": "mail comes due without room, and does not fire",
    "delivery/test_withdrawn_smarthosts.py": "that no connection more is opened is no event",
    "end_to_end/test_message_path.py": "what runs without mail has to be seen",
    "ingress/test_deadlines.py": "a client that is slow",
    "ingress/test_proxied.py": "the two parts of a header come one after the other",
    "operator/test_on_a_cluster.py": "nothing happens while the API server is away",
    "spool/test_packs_again.py": "that nothing is handed out twice is no event",
    "spool/test_packs_returned.py": "a lease that is needed does not run out",
    "spool/test_publisher.py": "mail comes due without room",
    "spool/test_schedules.py": "mail comes due",
    "spool/test_taking.py": "a lease that nobody extends runs out",
    "spool/test_unserved.py": "nothing is taken from a pool that has a process",
}


def fixed_waits(path: Path) -> Iterator[int]:
    """Yield the lines that wait for some time, and then go on whatever has happened."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asked_again = {
        inner for loop in ast.walk(tree) if isinstance(loop, ast.While) for inner in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep")
            and ast.unparse(node.args[0]) != "0"  # others' turn, and no wait
            and node not in asked_again
        ):
            yield node.lineno


def test_no_test_waits_for_some_time_without_need() -> None:
    found = {
        path.relative_to(TESTS).as_posix(): list(fixed_waits(path))
        for pattern in ("test_*.py", "conftest.py")
        for path in sorted(TESTS.rglob(pattern))
    }
    waiting = {name: lines for name, lines in found.items() if lines}
    assert {n: lines for n, lines in waiting.items() if n not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) - set(waiting) == set(), "no exception any more"
