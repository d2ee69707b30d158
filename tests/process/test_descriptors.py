"""A lack of file descriptors is told from a fault of others, and not a thousand times a minute."""

import errno

import pytest
from structlog.testing import capture_logs

from postroad.process.descriptors import LackTeller, is_own_lack


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENFILE, "Too many open files in system"), True),
        (OSError(errno.ECONNREFUSED, "Connection refused"), False),
        (TimeoutError(), False),
        (ValueError(errno.EMFILE), False),
    ],
)
def test_what_this_machine_lacks_is_told_from_a_peer_s_fault(error: Exception, ours: bool) -> None:
    assert is_own_lack(error) is ours


def test_a_lack_is_logged_once_a_minute_with_the_number_left_out() -> None:
    teller, error = LackTeller(), OSError(errno.EMFILE, "Too many open files")
    with capture_logs() as logs:
        for second in range(125):
            teller.tell(error, float(second))
    assert [line["left_out"] for line in logs] == [0, 59, 59]
