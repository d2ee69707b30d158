"""
`make bench`: measures Postroad, Postfix and Haraka; writes build/bench.json, docs/benchmarks.md.

`make bench BENCH_BASE=COMMIT` instead compares this commit with another one, in processor time for
each message, and writes no page.

    python -Im postroad_harness.bench --short

plays a round of a few hundred messages with Postroad alone and writes no page. It shows that the
bench works, not how fast anything is.
"""

import argparse
import shutil
from pathlib import Path

from postroad_harness.bench import comparison
from postroad_harness.bench.bench import Extent, run, write
from postroad_harness.bench.cases import CASES, Case
from postroad_harness.bench.page import write_page
from postroad_harness.bench.servers import other_commit
from postroad_harness.bench.servers.haraka import HarakaServer
from postroad_harness.bench.servers.interface import MailServer
from postroad_harness.bench.servers.postfix import PostfixServer
from postroad_harness.bench.servers.postroad import PostroadServer
from postroad_harness.ending import run_orderly

_BUILD = Path("build")
_COMPARED = "4KiB-kept,4KiB-new,100KiB-kept"


def main() -> None:
    """Read the flags, measure, report."""
    flags = _flags()
    servers = _commits(flags) if flags.base else _systems(flags)
    cases = _cases(flags.cases or (_COMPARED if flags.base else ""))
    rounds = flags.rounds or (7 if flags.base else 3)
    extent = Extent(1, None, 200) if flags.short else Extent(rounds, flags.seconds)
    folder = _BUILD / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = run_orderly(run(servers, cases, extent, folder))
    write(result, flags.json)
    if flags.base:
        print(comparison.table(result), end="")
    elif flags.page is not None and not flags.short:
        write_page(result, flags.page, seconds=flags.seconds)


def _systems(flags: argparse.Namespace) -> list[MailServer]:
    known: dict[str, MailServer] = {
        "postroad": PostroadServer(tuple(flags.up.split())),
        "postfix": PostfixServer(),
        "haraka": HarakaServer((_BUILD / "haraka").resolve()),
    }
    names = ["postroad"] if flags.short else flags.systems.split(",")
    return [known[name] for name in names]


def _commits(flags: argparse.Namespace) -> list[MailServer]:
    """Return this commit, the other one, and the other one once more, for the noise."""
    python = str(other_commit.set_up(flags.base, _BUILD / "bench-base"))
    words = tuple(flags.up.split())
    others = (comparison.BASE, comparison.AGAIN)
    return [
        PostroadServer(words, name=comparison.THIS),
        *(PostroadServer(words, name=name, python=python) for name in others),
    ]


def _cases(names: str) -> list[Case]:
    wanted = names.split(",") if names else [case.name for case in CASES]
    return [case for case in CASES if case.name in wanted]


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure mail servers.")
    parser.add_argument("--short", action="store_true", help="a few hundred messages, no page")
    parser.add_argument("--base", default="", help="another commit to measure beside this one")
    parser.add_argument("--rounds", type=int, default=0, help="3, and 7 with --base")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load in each round")
    parser.add_argument("--systems", default="postroad,postfix,haraka")
    parser.add_argument("--cases", default="", help="names, separated by commas; all without")
    parser.add_argument("--up", default="", help="further flags of `postroad up`")
    parser.add_argument("--json", type=Path, default=_BUILD / "bench.json")
    parser.add_argument("--page", type=Path, default=None, help="where to write the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
