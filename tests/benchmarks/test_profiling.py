"""Reading a profile: the time of functions by themselves, and with everything that they called."""

from postroad_harness.bench.profiling import read_stacks

STACKS = """\
main (app.py);deliver (worker.py);write (network.py) 6
main (app.py);deliver (worker.py);deliver (worker.py) 3
main (app.py) 1
run (log.py);wait (threading.py) 90
LineSink._run (sink.py:57);Condition.wait (threading.py:288) 90
"""


def test_time_is_told_by_function() -> None:
    profile = read_stacks(STACKS)
    assert profile.looks == 10
    assert profile.own == {"write (network.py)": 6, "deliver (worker.py)": 3, "main (app.py)": 1}
    assert profile.whole["deliver (worker.py)"] == 9
    first = profile.table().splitlines()[1].split()
    assert first == ["60.0%", "60.0%", "write", "(network.py)"]
