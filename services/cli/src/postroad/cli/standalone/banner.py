"""
What `postroad up` prints once it is ready: its addresses, its settings, and what to do next.

Scripts wait for the first line, so that line is complete in itself.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Banner:
    """The facts to print: ports by name, the queue's folder, manifests, settings by name."""

    ports: Mapping[str, str]
    state: Path
    manifests: Sequence[Path]
    sink: Path | None = None  # the folder of the example's mail; None with the user's manifests
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = "postroad"
    state_flag: str = ""

    def __str__(self) -> str:
        ports = ", ".join(f"{name} {address}" for name, address in self.ports.items())
        facts = [
            ("state", str(self.state)),
            ("manifests", ", ".join(map(str, self.manifests))),
            ("settings", ", ".join(f"{name}={value}" for name, value in self.settings.items())),
        ]
        lines = [f"postroad is ready: {ports}", ""]
        lines += [f"  {name:<10} {text}" for name, text in facts if text]
        return "\n".join([*lines, *self._what_next()])

    def tell(self) -> None:
        """Print it; if standard output is closed, the relay runs on."""
        try:
            print(self, flush=True)
        except OSError:
            # The rest of the buffer must not fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _what_next(self) -> Sequence[str]:
        if self.sink is None or "relay" not in self.ports:
            return ("",)
        return (
            f"  {'mail':<10} all of it ends in a sink on this machine: {self.sink}",
            "",
            "These are example manifests, since no --config was given. Send a first message,",
            "and see what became of it:",
            "",
            f"  {self.command} send --server {self.ports['relay']} --to you@example.net",
            f"  {self.command} events{self.state_flag}",
            "",
        )


def own_command() -> str:
    """Return how to run this command again: by its name, or the path it was started with."""
    started = sys.argv[0]
    if Path(started).name != "postroad":
        return shlex.join([sys.executable, "-m", "postroad.cli"])
    found = shutil.which("postroad")
    if found is not None and os.path.realpath(found) == os.path.realpath(started):
        return "postroad"
    return shlex.quote(started)
