"""Looking up past logins of a network: few at a time, and with a short time limit."""

import asyncio

import pytest

from postroad.ingress.auth import neighbours
from postroad.ingress.auth.neighbours import Neighbours
from postroad.telemetry.log_limit import LineLimit
from postroad.testing.patience import patient


class Slow:
    """Past logins that answer when told to."""

    def __init__(self) -> None:
        self.asked = self.most = 0
        self.answer = asyncio.Event()

    def note(self, key: str) -> None:
        """Nothing is noted."""

    async def noted(self, key: str) -> bool:
        """Answer, in time, that it is."""
        self.asked += 1
        self.most = max(self.most, self.asked)
        try:
            await self.answer.wait()
        finally:
            self.asked -= 1
        return True


async def test_however_many_guess_few_questions_are_asked_at_once() -> None:
    slow = Slow()
    asked = Neighbours(slow, LineLimit())
    questions = [asyncio.ensure_future(asked.has(str(n))) for n in range(500)]
    for _ in range(5):
        await asyncio.sleep(0)
    slow.answer.set()
    assert all(await asyncio.gather(*questions))
    assert slow.most == 16


async def test_without_an_answer_nobody_is_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_PATIENCE", 0.05)
    asked = Neighbours(Slow(), LineLimit())
    async with asyncio.timeout(patient(30)):
        assert await asyncio.gather(*(asked.has(str(n)) for n in range(50))) == [False] * 50
