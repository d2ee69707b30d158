"""
`make bench`: Postroad beside Postfix and Haraka, into build/bench.json and docs/benchmarks.md.

    python -Im postroad.testing.bench --short

plays a round of a few hundred messages with Postroad alone and writes no page: that it works, not
how fast.
"""

import argparse
import shutil
from pathlib import Path

from postroad.testing.bench.bench import Extent, run, write
from postroad.testing.bench.cases import CASES
from postroad.testing.bench.haraka_server import HarakaServer
from postroad.testing.bench.page import write_page
from postroad.testing.bench.postfix_server import PostfixServer
from postroad.testing.bench.postroad_server import PostroadServer
from postroad.testing.bench.server import MailServer
from postroad.testing.ending import run_orderly

_BUILD = Path("build")


def main() -> None:
    """Read the flags, measure, report."""
    flags = _flags()
    known: dict[str, MailServer] = {
        "postroad": PostroadServer(tuple(flags.up.split())),
        "postfix": PostfixServer(),
        "haraka": HarakaServer((_BUILD / "haraka").resolve()),
    }
    servers = [known[name] for name in flags.systems.split(",")]
    wanted = flags.cases.split(",") if flags.cases else [case.name for case in CASES]
    cases = [case for case in CASES if case.name in wanted]
    extent = Extent(flags.rounds, flags.seconds)
    if flags.short:
        servers, extent = [known["postroad"]], Extent(1, None, 200)
    folder = _BUILD / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = run_orderly(run(servers, cases, extent, folder))
    write(result, flags.json)
    if flags.page is not None and not flags.short:
        write_page(result, flags.page, seconds=flags.seconds)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure mail servers.")
    parser.add_argument("--short", action="store_true", help="a few hundred messages, no page")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load in each round")
    parser.add_argument("--systems", default="postroad,postfix,haraka")
    parser.add_argument("--cases", default="", help="names, separated by commas; all without")
    parser.add_argument("--up", default="", help="further flags of `postroad up`")
    parser.add_argument("--json", type=Path, default=_BUILD / "bench.json")
    parser.add_argument("--page", type=Path, default=None, help="where to write the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
