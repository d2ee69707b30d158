"""
Twenty seconds of the soak test (`make soak` runs two minutes).

It needs the twenty seconds: some faults show only after a time-out.
"""

import asyncio
from pathlib import Path

import uvloop

from postroad_harness.connections.soak import haproxy, soak
from postroad_harness.left_out import leave_out


def test_health_checks_pass_and_mail_flows_beside_clients_that_leave(tmp_path: Path) -> None:
    program = haproxy()
    if program is None:
        leave_out("HAProxy is not installed; on Debian and Ubuntu: apt-get install haproxy")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(soak(program, seconds=20, folder=tmp_path))
    assert result.messages > 20
    assert result.left > 50
    assert result.failed_checks
    assert len(result.failed_checks) == 10
    assert not any(result.failed_checks.values()), result.reasons
