"""Simulated clusters with faults: promises are kept, mistakes are found, runs can be repeated."""

import subprocess
import sys

import pytest

from postroad_harness.simulation.aims import Aim
from postroad_harness.simulation.quiet import play_quietly as played
from postroad_harness.simulation.spool import WatchedConsumer
from postroad_harness.simulation.wrong import consumers as wrong
from postroad_harness.simulation.wrong import packs as wrong_packs

pytestmark = pytest.mark.timeout(300)  # a play that is cut short looks like one that loses mail


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_every_promise_is_kept(first: int) -> None:
    results = [played(seed) for seed in range(first, first + 25)]
    assert {r.seed: r.violations for r in results if r.violations} == {}
    assert sum(r.copies for r in results) > 100
    assert sum(len(r.faults) for r in results) > 25


def test_a_seed_plays_the_same_again() -> None:
    once, _, again = played(7), played(8), played(7)
    assert once == again


def test_a_seed_plays_the_same_in_another_process() -> None:
    # Another one hashes texts otherwise, and puts objects elsewhere.
    command = [sys.executable, "-Im", "postroad_harness.simulation", "--seed", "9"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"trace {played(9).trace}\n" in told


# The first seeds that find each, with room for changes of the play.
@pytest.mark.parametrize(
    ("mistake", "first", "within"),
    [
        (wrong.AcknowledgesFirst, 0, 100),
        (wrong.BelievesEveryAnswer, 250, 100),
        (wrong.MakesNoRoom, 0, 60),
        (wrong.ForgetsLeases, 0, 100),
    ],
)
def test_a_mistake_is_found(mistake: type[WatchedConsumer], first: int, within: int) -> None:
    assert any(played(seed, mistake).violations for seed in range(first, first + within))


# What seeds meet once in thousands by chance, and plays made for it soon.
@pytest.mark.parametrize(
    ("mistake", "aim", "within"),
    [
        (wrong.SettlesRegardless, Aim.LEASES, 80),
        (wrong.TrustsArrival, Aim.LEASES, 60),
        (wrong.AsksForNoLaterForm, Aim.SETTLING, 20),
        (wrong.BeginsBeforeTheFormerIsGone, Aim.SETTLING, 20),
        (wrong.TakesWhatFiresAgainForNew, Aim.FIRING, 20),
        (wrong.KeepsWhatItLeft, Aim.SCALING, 20),
        (wrong.LeavesWithoutAWord, Aim.SCALING, 20),
        (wrong.OrphansLanes, Aim.SCALING, 40),
        (wrong.SettlesAtTheEnd, Aim.MANY, 20),
        (wrong.ForgetsWhatIsKnown, Aim.MANY, 20),
        (wrong.SeesNoOthers, Aim.POOLS, 20),
        (wrong.RefundsWhatIsInDoubt, Aim.QUOTAS, 20),
        (wrong.ForgetsTheFormerByOrder, Aim.RETRIED, 20),
        (wrong.KnowsNamedPoolsAlone, Aim.RENAMED, 20),
        (wrong.NotesInMemory, Aim.FORGOTTEN, 20),
        (wrong_packs.OneEndsItsPack, Aim.PACKS, 20),
        (wrong_packs.ForgetsWhatItDropped, Aim.PACKS, 160),
        (wrong_packs.ReadsNoHistory, Aim.PACKS, 20),
    ],
)
def test_a_rare_mistake_is_found_by_plays_made_for_it(
    mistake: type[WatchedConsumer], aim: Aim, within: int
) -> None:
    assert any(played(seed, mistake, aim).violations for seed in range(within))


def test_a_mistake_is_found_that_takes_a_drain_in_the_right_moment() -> None:
    """It does harm in one of some hundred such plays."""
    seeds = range(10)
    assert any(played(seed, wrong.LeavesWhatIsSettled, Aim.DRAINED).violations for seed in seeds)


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.parametrize("aim", Aim)
def test_every_promise_is_kept_in_plays_made_for_something(aim: Aim, first: int) -> None:
    results = [played(seed, aim=aim) for seed in range(first, first + 10)]
    assert {r.seed: r.violations for r in results if r.violations} == {}


def test_a_broken_promise_is_told_with_its_seed() -> None:
    played_wrong = (played(seed, wrong.MakesNoRoom) for seed in range(60))
    found = next(r for r in played_wrong if "is stuck in the queue" in "".join(r.violations))
    assert played(found.seed, wrong.MakesNoRoom) == found
