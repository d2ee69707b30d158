"""The limit on file descriptors is compared with the number of connections."""

import resource
import sys
from subprocess import run

import pytest

from postroad.ingress.listen.descriptors import fitting_connections


@pytest.mark.parametrize(
    ("wanted", "descriptors", "fitting"),
    [(1000, 4096, 1000), (1000, 1064, 1000), (1000, 1024, 960), (1000, 10, 1)],
)
def test_there_are_as_many_places_as_descriptors(
    wanted: int, descriptors: int, fitting: int
) -> None:
    assert fitting_connections(wanted, descriptors) == fitting


def test_without_a_limit_all_fit() -> None:
    assert fitting_connections(1000, resource.RLIM_INFINITY) == 1000


PROGRAM = """
import resource
from postroad.ingress.listen.descriptors import within_descriptors
from postroad.ingress.limits import IngressLimits
resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}))
limits = within_descriptors(IngressLimits())
print(limits.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "said", "warned"), [(1200, "1000 1200", False), (500, "436 500", True)]
)
def test_the_limit_is_raised_and_what_is_missing_is_said(
    hard: int, said: str, warned: bool
) -> None:
    program = PROGRAM.format(hard=hard)
    ran = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said in ran.stdout
    assert ("too few file descriptors" in ran.stdout + ran.stderr) is warned
