"""The embedded nats-server, as far as it is decided without starting it."""

import pytest

from postroad.cli.embedded import memory_goal

MIB = 1024 * 1024


@pytest.mark.parametrize(("physical", "goal"), [(512, 256), (2048, 512), (65536, 1024)])
def test_the_server_aims_at_a_quarter_of_the_memory_within_bounds(physical: int, goal: int) -> None:
    assert memory_goal(physical * MIB) == goal * MIB
