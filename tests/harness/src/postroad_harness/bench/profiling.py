"""
`make profile`: shows where ingress and delivery spend their time under full load.

py-spy samples the running processes from outside, two hundred times a second, so it hardly slows
the relay. For each process, it prints the functions that took most time, by themselves and with
everything they called. The stacks are kept in build/profile, one a line with its count, as flame
graph tools read them. It needs the right to trace other processes (ptrace).
"""

import argparse
import asyncio
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from postroad.testing.processes.relay import process_name
from postroad_harness.bench import processes
from postroad_harness.bench.cases import CASES, Case
from postroad_harness.bench.far_end import FarEnd
from postroad_harness.bench.rounds import RoundFigures, play
from postroad_harness.bench.servers.postroad import PostroadServer
from postroad_harness.ending import run_orderly

_LOOKS = 200  # a second
_WARM = 300  # messages before anything is looked at
_SHOWN = 25
# The thread that writes the log, when there is nothing to write; py-spy names class and line.
_WAITING = re.compile(r"\bwait \(threading\.py(:\d+)?\)$")


@dataclass
class Profile:
    """How often each function was seen: by itself, and with everything that it called."""

    looks: int = 0
    own: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)

    def add(self, stack: Sequence[str], count: int) -> None:
        """Count a stack, outermost function first."""
        self.looks += count
        self.own[stack[-1]] += count
        for function in set(stack):
            self.whole[function] += count

    def table(self) -> str:
        """Return the functions that took most time."""
        lines = [f"{'itself':>8} {'whole':>8}  function"]
        for function, count in self.own.most_common(_SHOWN):
            own, whole = count / self.looks, self.whole[function] / self.looks
            lines.append(f"{own:8.1%} {whole:8.1%}  {function}")
        lines.append(f"\n{'whole':>17}  of those with less of their own")
        shown = {function for function, _ in self.own.most_common(_SHOWN)}
        rest = [each for each in self.whole.most_common() if each[0] not in shown]
        lines += [f"{count / self.looks:17.1%}  {function}" for function, count in rest[:_SHOWN]]
        return "\n".join(lines)


def read_stacks(text: str) -> Profile:
    """Read stacks as py-spy keeps them: functions from the outermost on, and a count."""
    profile = Profile()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and not _WAITING.search(stack):
            profile.add(stack.split(";"), int(count))
    return profile


async def profile(case: Case, seconds: float, folder: Path) -> tuple[RoundFigures, list[Path]]:
    """Load a relay and sample its processes meanwhile; return the files of stacks."""
    server = PostroadServer()
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(FarEnd())
        stack.push_async_callback(server.stop)
        await server.start(folder, far.port)
        await play(server, case, far, folder, seconds=None, messages=_WARM)
        named = {pid: process_name(pid) for pid in processes.descendants(server.pid)}
        looked_at = {p: n for p, n in named.items() if n.startswith(("ingress", "delivery"))}
        files = [folder / f"{name}.stacks" for name in looked_at.values()]
        looking = [
            asyncio.create_task(_look(pid, file, seconds))
            for pid, file in zip(looked_at, files, strict=True)
        ]
        figures = await play(server, case, far, folder, seconds=seconds, messages=None)
        await asyncio.gather(*looking)
    return figures, files


async def _look(pid: int, file: Path, seconds: float) -> None:
    spy = str(Path(sys.executable).with_name("py-spy"))
    process = await asyncio.create_subprocess_exec(
        *(spy, "record", "--pid", str(pid), "--function", "--format", "raw", "--output", str(file)),
        *("--rate", str(_LOOKS), "--duration", str(max(1, int(seconds)))),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"py-spy cannot look at process {pid}: {said.decode().strip()}")


def main() -> None:
    """Read the flags, profile, and print the result."""
    parser = argparse.ArgumentParser(prog="make profile", description="Where the time goes.")
    parser.add_argument("--case", default="4KiB-kept", choices=[case.name for case in CASES])
    parser.add_argument("--seconds", type=float, default=10.0)
    flags = parser.parse_args()
    folder = Path("build/profile").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = next(case for case in CASES if case.name == flags.case)
    figures, files = run_orderly(profile(case, flags.seconds, folder))
    print(f"{case.name}: {figures.rate:.0f}/s end to end, CPU for each message:")
    for name, seconds in figures.cpu_per_message.items():
        print(f"  {name} {seconds * 1e6:.0f} µs")
    for file in files:
        print(f"\n{file.stem}\n{read_stacks(file.read_text()).table()}")


if __name__ == "__main__":
    main()
