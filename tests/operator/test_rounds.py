"""The schedule of probes: new objects first, the rest spread, never more at a time than allowed."""

from datetime import timedelta

from postroad.operator.probes.schedule import PeriodicQueue

EVERY = timedelta(seconds=100)


def test_a_burst_of_new_things_becomes_a_trickle() -> None:
    turns: PeriodicQueue[int] = PeriodicQueue(EVERY, lambda: 0.5)
    present = range(10)
    assert turns.due(present, 0.0, most=4) == [0, 1, 2, 3]
    assert turns.due(present, 1.0, most=4) == [4, 5, 6, 7]
    assert turns.due(present, 2.0, most=4) == [8, 9]
    assert turns.due(present, 99.0, most=4) == []
    assert turns.due(present, 101.0, most=10) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_what_is_new_does_not_wait_for_a_round() -> None:
    turns: PeriodicQueue[str] = PeriodicQueue(EVERY, lambda: 0.5)
    assert turns.due(["old"], 0.0, most=5) == ["old"]
    assert turns.due(["old", "new"], 1.0, most=5) == ["new"]
    assert turns.due(["new"], 2.0, most=5) == []
    assert list(turns.known) == ["new"]


def test_turns_drift_apart() -> None:
    chances = iter([0.0, 1.0])
    turns: PeriodicQueue[str] = PeriodicQueue(EVERY, lambda: next(chances, 0.5))
    turns.due(["early", "late"], 0.0, most=2)
    assert turns.due(["early", "late"], 80.0, most=2) == ["early"]


def test_what_is_not_admitted_stays_due() -> None:
    turns: PeriodicQueue[int] = PeriodicQueue(EVERY, lambda: 0.5)
    assert turns.due(range(4), 0.0, most=1, admits=lambda key: key > 1) == [2]
    assert turns.due(range(4), 1.0, most=4) == [0, 1, 3]
