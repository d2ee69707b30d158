"""`make chaos`: kill processes under load, account for every message, write docs/chaos.md."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from postroad_harness.chaos.account import ChaosFigures
from postroad_harness.chaos.one_machine import OneMachine
from postroad_harness.chaos.page import summary, write_page
from postroad_harness.chaos.play import Extent, play
from postroad_harness.chaos.rig import Rig
from postroad_harness.chaos.three_servers import ThreeServers
from postroad_harness.ending import run_orderly

_BUILD = Path("build")


def main() -> None:
    """Read the flags, play the runs, report; exit with 1 when anything was lost."""
    flags = _flags()
    known: dict[str, type[Rig]] = {"one": OneMachine, "three": ThreeServers}
    kinds = tuple(flags.kinds.split(",")) if flags.kinds else ()
    extent = Extent(seconds=flags.seconds, rate=flags.rate, seed=flags.seed, kinds=kinds)
    runs: list[ChaosFigures] = []
    for name in flags.rigs.split(","):
        folder = (_BUILD / "chaos" / name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        runs.append(run_orderly(play(known[name](), extent, folder)))
        print(f"{runs[-1].what}:\n{summary(runs[-1])}", flush=True)
    kept = [run.as_json() for run in runs]
    (_BUILD / "chaos.json").write_text(json.dumps({"seed": flags.seed, "runs": kept}, indent=1))
    if flags.page is not None:
        write_page(runs, flags.page)
    sys.exit(int(any(run.lost for run in runs)))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill processes under load.")
    parser.add_argument("--seconds", type=float, default=600.0, help="of each run")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--seed", type=int, default=1, help="of the kills' order and pauses")
    parser.add_argument("--rigs", default="one,three")
    parser.add_argument("--kinds", default="", help="what is killed: delivery, ingress, …")
    parser.add_argument("--page", type=Path, default=None, help="where to write the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
