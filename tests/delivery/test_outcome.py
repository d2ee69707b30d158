"""The outcome of a reply for a recipient: the code decides, and an unknown code is temporary."""

import pytest

from postroad.delivery.outcome import OutcomeKind, deferred, of_reply
from postroad.smtp.reply import Reply


@pytest.mark.parametrize(
    ("code", "status", "kind", "said"),
    [
        (250, "2.1.5", OutcomeKind.DELIVERED, "2.1.5"),
        (250, None, OutcomeKind.DELIVERED, "2.0.0"),
        (251, None, OutcomeKind.DELIVERED, "2.0.0"),
        (354, None, OutcomeKind.DEFERRED, "4.0.0"),
        (421, "4.3.2", OutcomeKind.DEFERRED, "4.3.2"),
        (450, None, OutcomeKind.DEFERRED, "4.0.0"),
        (452, "4.2.2", OutcomeKind.DEFERRED, "4.2.2"),
        (550, "5.1.1", OutcomeKind.BOUNCED, "5.1.1"),
        (554, None, OutcomeKind.BOUNCED, "5.0.0"),
        (450, "5.7.1", OutcomeKind.DEFERRED, "4.7.1"),
        (550, "4.7.1", OutcomeKind.BOUNCED, "5.7.1"),
        (550, "2.0.0", OutcomeKind.BOUNCED, "5.0.0"),
    ],
)
def test_the_code_decides(code: int, status: str | None, kind: OutcomeKind, said: str) -> None:
    outcome = of_reply(Reply.of(code, status, "text"), host="mx.test", tls="TLSv1.3")
    assert (outcome.kind, str(outcome.status)) == (kind, said)
    assert (outcome.host, outcome.tls, outcome.answered) == ("mx.test", "TLSv1.3", True)
    assert outcome.text.startswith(str(code))


def test_reasons_of_ours_are_deferrals() -> None:
    outcome = deferred("no connection", host="mx.test")
    assert outcome.kind is OutcomeKind.DEFERRED
    assert outcome.status.klass == 4
    assert not outcome.answered, "nobody is quoted who said nothing"


def test_what_does_not_count_for_the_mail_is_put_off() -> None:
    outcome = of_reply(Reply.of(550, "5.7.1", "no"), host="mx.test", kind=OutcomeKind.DEFERRED)
    assert (outcome.kind, str(outcome.status), outcome.text) == (
        OutcomeKind.DEFERRED,
        "4.7.1",
        "550 5.7.1 no",
    )
    assert of_reply(Reply.of(550, "5.7.1", "no"), host="mx.test").put_off() == outcome
