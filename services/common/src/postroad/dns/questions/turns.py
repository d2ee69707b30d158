"""Waits for a turn to ask the DNS; `lines` decides which question is next."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager

from postroad.dns.questions.lines import Asker, DnsLines, Question

_LONGEST = 20.0  # the most seconds that a question waits for its turn


class DnsTurns:
    """The turns of a process, which limit the concurrent questions."""

    def __init__(self, most: int) -> None:
        self._lines = DnsLines(most)
        self._waiting: dict[Hashable, Question] = {}
        self._begun: dict[Question, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, key: Hashable, askers: Iterable[Asker]) -> AsyncIterator[bool]:
        """Hold a turn for the question `key` in a block; yields False if none came in time."""
        question = Question()
        self._begun[question] = asyncio.get_running_loop().create_future()
        self._waiting[key] = question
        for asker in askers:
            self._lines.stand(question, asker)
        try:
            yield await self._comes(key, question)
        finally:
            self._lines.leave(question)
            self._go_on()

    def join(self, key: Hashable, asker: Asker) -> None:
        """Add another asker to a waiting question, which may get its turn sooner."""
        question = self._waiting.get(key)
        if question is not None and question.turn is None:
            self._lines.stand(question, asker)
            self._go_on()

    def has_turn(self, asker: Asker) -> bool:
        """Whether an asker's next question gets a turn at once."""
        return not self._waiting and self._lines.has_turn(asker)

    async def _comes(self, key: Hashable, question: Question) -> bool:
        self._go_on()
        begun = self._begun[question]
        try:
            async with asyncio.timeout(_LONGEST):
                await begun
        except TimeoutError:
            pass
        finally:
            del self._waiting[key], self._begun[question]
        return question.turn is not None

    def _go_on(self) -> None:
        while (question := self._lines.next()) is not None:
            begun = self._begun[question]
            if not begun.done():  # it is done if its task was cancelled, which gives the turn back
                begun.set_result(None)
