"""Each refusal of acceptance has a reason in one word, whichever process asks acceptance."""

import pytest

from postroad.acceptance import verdicts
from postroad.smtp.reply import Reply

REFUSALS = {
    name: reply
    for name, reply in vars(verdicts).items()
    if isinstance(reply, Reply) and reply.code >= 400
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_a_reason_in_one_word(name: str) -> None:
    assert verdicts.REASONS[REFUSALS[name]].isalpha()
