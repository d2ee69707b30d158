"""
Decides which question goes to the DNS next. No I/O.

The number of concurrent questions (turns) is limited, and an unanswered question keeps its turn for
seconds. A domain with dozens of silent MX hosts could take all turns for minutes. So the first
questions of each domain, as many as one host's addresses need, go before the later questions of all
domains, and the later ones never have more than half of the turns. Express goes before bulk, which
has three quarters of the turns at most.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from postroad.mail.traffic import TrafficClass

_FIRST = 2  # first questions of a domain: one for each address family
_LATER = 0.5  # the part of the turns for later questions
_BULK = 0.75  # the part of the turns for bulk mail
_DEPTHS = 32  # lines; a domain's questions after that share the last one


@dataclass(frozen=True, slots=True)
class Asker:
    """
    The mail for which a question is asked: of a domain, or of an egress path to smarthosts.

    `slow` says that the DNS did not answer recently for its hosts.
    """

    name: str
    traffic_class: TrafficClass = TrafficClass.EXPRESS
    slow: bool = False


@dataclass(frozen=True, slots=True)
class _Standing:
    asker: Asker
    depth: int  # questions of the same domain that are open or waiting before it

    @property
    def is_later(self) -> bool:
        return self.depth >= _FIRST


@dataclass(slots=True, eq=False)
class Question:
    """A question that waits in the line of each asker that needs it, or that has a turn."""

    standings: list[_Standing] = field(default_factory=list)
    turn: _Standing | None = None  # the standing that got the turn


class DnsLines:
    """The lines of waiting questions for `most` turns."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: dict[TrafficClass, list[OrderedDict[Question, None]]] = {
            traffic_class: [OrderedDict() for _ in range(_DEPTHS)] for traffic_class in TrafficClass
        }
        self._depths: Counter[str] = Counter()
        self._open: Counter[TrafficClass] = Counter()
        self._later = 0  # open later questions

    def stand(self, question: Question, asker: Asker) -> None:
        """Let a question wait in an asker's line."""
        standing = self._standing(asker)
        question.standings.append(standing)
        self._depths[asker.name] += 1
        self._line(standing)[question] = None

    def next(self) -> Question | None:
        """Take the next question, None when none may be asked now."""
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
        """Remove a question that was asked, or that nobody needs any more."""
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
        """Whether an asker's next question could begin at once if no other waits."""
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
