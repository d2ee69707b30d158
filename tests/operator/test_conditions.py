"""Conditions follow Kubernetes' conventions: their time changes only with their status."""

from datetime import UTC, datetime, timedelta
from typing import Any

from postroad.operator.status.conditions import Judgement, Truth, Type, merge

THEN = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)


def condition(status: str, reason: str = "Some", of: str = "Ready") -> dict[str, Any]:
    return {
        "type": of,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-11-24T10:00:00Z",
        "observedGeneration": 1,
    }


def judged(status: Truth, reason: str = "Some") -> Judgement:
    return Judgement(Type.READY, status, reason, "why")


def test_a_new_condition_is_as_old_as_now() -> None:
    [made] = merge([], [judged(Truth.TRUE)], generation=3, now=NOW)
    assert made == {
        "type": "Ready",
        "status": "True",
        "reason": "Some",
        "message": "why",
        "lastTransitionTime": "2026-11-24T11:00:00Z",
        "observedGeneration": 3,
    }


def test_what_a_message_quotes_does_not_steer_a_terminal() -> None:
    said = Judgement(Type.READY, Truth.FALSE, "Found", "the record is \x1b[2J\u202eeno")
    [made] = merge([], [said], generation=1, now=NOW)
    assert made["message"] == r"the record is \x1b[2J\u202eeno"


def test_another_reason_or_generation_leaves_the_age_alone() -> None:
    [made] = merge([condition("False")], [judged(Truth.FALSE, "Other")], generation=2, now=NOW)
    assert (made["reason"], made["observedGeneration"]) == ("Other", 2)
    assert made["lastTransitionTime"] == "2026-11-24T10:00:00Z"


def test_another_status_is_a_transition() -> None:
    [made] = merge([condition("Unknown")], [judged(Truth.TRUE)], generation=1, now=NOW)
    assert made["lastTransitionTime"] == "2026-11-24T11:00:00Z"


def test_conditions_of_ours_that_do_not_apply_go_and_foreign_ones_stay() -> None:
    before = [condition("True", of="SecretsResolved"), condition("True", of="example.org/Seen")]
    made = merge(before, [judged(Truth.TRUE)], generation=1, now=NOW)
    assert [each["type"] for each in made] == ["Ready", "example.org/Seen"]
