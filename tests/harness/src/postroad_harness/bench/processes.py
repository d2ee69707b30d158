"""
The costs of processes, from the kernel: processor time, current memory and peak memory.

A server is its first process with all descendants. The kernel adds the processor time of an ended
process to its parent, so nothing is lost when workers come and go during a round.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ENDED = "processes that ended"


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of processor time by name of process, since the processes began."""

    seconds: Mapping[str, float]

    def since(self, before: "Usage") -> dict[str, float]:
        """Return the time since an earlier reading; the sum is right within a tick."""
        names = self.seconds.keys() | before.seconds.keys()
        spent = {
            name: self.seconds.get(name, 0.0) - before.seconds.get(name, 0.0) for name in names
        }
        # The earlier time of a process that has ended is in its parent's figure now.
        earlier = sum(seconds for seconds in spent.values() if seconds < 0.0)
        spent[_ENDED] = spent.get(_ENDED, 0.0) + earlier
        return {name: seconds for name, seconds in spent.items() if seconds > 0.0}


def descendants(pid: int) -> list[int]:
    """Return a process and all its running descendants."""
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        found.append(each)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                todo += [int(text) for text in (task / "children").read_text().split()]
    return found


def usage(pid: int, named: Callable[[int], str]) -> Usage:
    """Return the processor time of a process and its descendants, by their names."""
    ticks: Counter[str] = Counter()
    for each in descendants(pid):
        fields = _stat(each)
        if fields:
            own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            ticks[named(each)] += own
            ticks[_ENDED] += ended
    return Usage({name: number / _TICKS for name, number in ticks.items()})


def forget_peaks(pid: int) -> None:
    """Reset the peak memory of a process and its descendants."""
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{each}/clear_refs").write_text("5")


def peaks(pid: int, named: Callable[[int], str]) -> dict[str, int]:
    """Return the largest RSS, in octets, that a process of each name has had."""
    found: dict[str, int] = {}
    for each in descendants(pid):
        octets = _kilobytes(Path(f"/proc/{each}/status"), "VmHWM:") * 1024
        name = named(each)
        found[name] = max(found.get(name, 0), octets)
    return found


def memory(pid: int) -> int:
    """Return the octets that a process and its descendants hold; shared pages count once."""
    return sum(
        _kilobytes(Path(f"/proc/{each}/smaps_rollup"), "Pss:") * 1024 for each in descendants(pid)
    )


def command_name(pid: int) -> str:
    """Return the name of the program that a process runs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kilobytes(file: Path, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0


def resident(pid: int) -> int:
    """Return the octets of RSS that a process holds now."""
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmRSS:") * 1024
