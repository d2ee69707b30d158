"""Counts the refusals of ingress, by command and by reason."""

from postroad.acceptance.history import Refusal
from postroad.ingress import metrics
from postroad.ingress.reasons import reason_of

_COMMANDS = frozenset(metrics.COMMANDS)


def count(refusal: Refusal) -> str:
    """Count a refusal; return its reason in one word."""
    reason = reason_of(refusal.reply)
    command = refusal.command.lower()
    metrics.REFUSALS.labels(command if command in _COMMANDS else "other", reason).inc()
    return reason
