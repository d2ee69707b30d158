"""Where everything must be tested, a test fails if the machine lacks something it needs."""

import pytest

from postroad_harness.left_out import leave_out


def test_a_test_is_skipped_for_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROAD_TEST_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no helm"):
        leave_out("there is no helm")


def test_a_test_fails_where_nothing_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROAD_TEST_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="there is no helm"):
        leave_out("there is no helm")
