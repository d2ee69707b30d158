"""
`python -Im postroad_harness.simulation`: plays seeds, and reports those that break a promise.

    --seed N            play one and tell what happened
    --seeds N           play so many, from --first on (0), in --jobs processes at a time
    --aim WHAT          play what is made for something: leases, settling, scaling, many, pools,
                        quotas, retried, renamed, forgotten
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from postroad_harness.simulation.aims import Aim
from postroad_harness.simulation.play import Result
from postroad_harness.simulation.quiet import play_quietly


def main() -> int:
    """Play the seeds; return 1 if a promise was broken."""
    options = argparse.ArgumentParser(prog="python -Im postroad_harness.simulation")
    options.add_argument("--seed", type=int)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--seeds", type=int, default=1000)
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--aim", type=Aim, choices=list(Aim))
    chosen = options.parse_args()
    play = partial(play_quietly, aim=chosen.aim)
    if chosen.seed is not None:
        return _tell(play(chosen.seed))
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    return _play_many(_results(play, seeds, chosen.jobs), len(seeds))


def _results(play: Callable[[int], Result], seeds: range, jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(play, seeds)
        return
    # Spawned: each process starts as a new interpreter, as a replay does.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, seeds, chunksize=50)


def _play_many(results: Iterator[Result], number: int) -> int:
    began = time.perf_counter()
    broken = copies = duplicates = faults = 0
    for result in results:
        copies += result.copies
        duplicates += result.duplicates
        faults += len(result.faults)
        if result.violations:
            broken += 1
            sys.stdout.write(f"seed {result.seed}: {result.violations[0]}\n")
            sys.stdout.flush()
    took = time.perf_counter() - began
    sys.stdout.write(
        f"{number} seeds in {took:.0f} s: {faults} faults, {copies} copies delivered,"
        f" {duplicates} of them again for a reason, {broken} seeds broke a promise\n"
    )
    if broken:
        sys.stdout.write("Replay one: python -Im postroad_harness.simulation --seed N\n")
    return 1 if broken else 0


def _tell(result: Result) -> int:
    lines = [
        f"seed {result.seed}: {result.steps} steps, {result.seconds:.0f} s, trace {result.trace}",
        f"{result.copies} copies delivered, {result.duplicates} of them again for a reason",
        *(f"  fault  {fault}" for fault in result.faults),
        *(f"  BROKEN {violation}" for violation in result.violations),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if result.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
