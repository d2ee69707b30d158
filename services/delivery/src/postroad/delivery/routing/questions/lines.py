"""
Which question is put to the DNS next. No I/O.

Only so many are asked at a time, and one that is not answered keeps its turn for seconds. Who names
dozens of silent hosts in his MX records would have all turns for minutes. So a domain's first
questions, as many as one host's addresses need, go before the further ones of all others, and those
never have more than half of the turns. Express goes before bulk, which has three quarters at most.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

_FIRST = 2  # questions: one for each family of addresses
_LATER = 0.5  # of the turns
_BULK = 0.75  # of the turns
_DEPTHS = 32  # behind so many of its domain's own, one more makes no difference


@dataclass(frozen=True, slots=True)
class Asker:
    """
    For whose mail a question is asked: that of a domain, or of an egress path to smarthosts.

    `slow`: the DNS did not answer of late for the hosts that it names.
    """

    name: str
    traffic_class: TrafficClass = TrafficClass.EXPRESS
    slow: bool = False


@dataclass(frozen=True, slots=True)
class _Standing:
    asker: Asker
    depth: int  # questions of its asker's name that were open or waiting before it

    @property
    def is_later(self) -> bool:
        return self.depth >= _FIRST


@dataclass(slots=True, eq=False)
class Question:
    """A question that waits, in the line of each asker who needs it, or has its turn."""

    standings: list[_Standing] = field(default_factory=list)
    turn: _Standing | None = None  # the asker's who came to it first


class DnsLines:
    """The lines before `most` turns."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[TrafficClass, list[OrderedDict[Question, None]]] = {
            traffic_class: [OrderedDict() for _ in range(_DEPTHS)] for traffic_class in TrafficClass
        }
        self._depths: Counter[str] = Counter()
        self._open: Counter[TrafficClass] = Counter()
        self._later = 0  # of those that are open

    def stand(self, question: Question, asker: Asker) -> None:
        """Let a question wait in an asker's line."""
        standing = self._standing(asker)
        question.standings.append(standing)
        self._depths[asker.name] += 1
        self._line(standing)[question] = None

    def next(self) -> Question | None:
        """Take out the question whose turn it is, None when none may be asked now."""
        for lines in self._lines.values():
            line = next(filter(None, lines), None)
            if line is None:
                continue
            question = next(iter(line))
            standing = next(each for each in question.standings if self._line(each) is line)
            if self._may_begin(standing):
                self._begin(question, standing)
                return question
        return None

    def leave(self, question: Question) -> None:
        """Take down that a question was asked, or is waited for no more."""
        for standing in question.standings:
            self._line(standing).pop(question, None)
            name = standing.asker.name
            self._depths[name] -= 1
            if not self._depths[name]:
                del self._depths[name]
        if question.turn is not None:
            self._open[question.turn.asker.traffic_class] -= 1
            self._later -= question.turn.is_later

    def has_turn(self, asker: Asker) -> bool:
        """Whether an asker's next question might begin at once, if no other waits."""
        return self._may_begin(self._standing(asker))

    def _standing(self, asker: Asker) -> _Standing:
        return _Standing(asker, min(self._depths[asker.name], _DEPTHS - 1))

    def _line(self, standing: _Standing) -> OrderedDict[Question, None]:
        return self._lines[standing.asker.traffic_class][standing.depth]

    def _begin(self, question: Question, standing: _Standing) -> None:
        for each in question.standings:
            self._line(each).pop(question, None)
        question.turn = standing
        self._open[standing.asker.traffic_class] += 1
        self._later += standing.is_later

    def _may_begin(self, standing: _Standing) -> bool:
        if self._open.total() >= self._most:
            return False
        if standing.is_later and self._later >= max(1, int(self._most * _LATER)):
            return False
        bulk = standing.asker.traffic_class is TrafficClass.BULK
        return not bulk or self._open[TrafficClass.BULK] < max(1, int(self._most * _BULK))
