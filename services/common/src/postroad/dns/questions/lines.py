"""
Decides which question goes to the DNS next. No I/O.

The number of concurrent questions (turns) is limited, and an unanswered question keeps its turn for
seconds. A domain with dozens of silent MX hosts could take all turns for minutes. So the first
questions of each domain, as many as one host's addresses need, go before the later questions of all
domains, and the later ones never have more than half of the turns. Transactional goes before bulk,
which has three quarters of the turns at most.

A sender could do the same with thousands of silent domains. So the senders take turns, and none has
all of them (`places`).
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from postroad.dns.questions.places import Places
from postroad.mail.traffic import TrafficClass

_FIRST = 2  # first questions of a domain: one for each address family
_LATER = 0.5  # the part of the turns for later questions
_DEPTHS = 32  # lines; a domain's questions after that share the last one


@dataclass(frozen=True, slots=True)
class Asker:
    """
    The mail for which a question is asked: of a domain, or of an egress path to smarthosts.

    `slow` says that the DNS did not answer recently for its hosts. `sender` shares the turns with
    other senders.
    """

    name: str
    traffic_class: TrafficClass = TrafficClass.TRANSACTIONAL
    slow: bool = False
    sender: str = ""


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


class _Line:
    """Questions that wait in one line. The senders take turns; each one's are in their order."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, OrderedDict[Question, None]] = OrderedDict()

    def add(self, question: Question, sender: str) -> None:
        """Let a question wait behind the others of its sender."""
        self._senders.setdefault(sender, OrderedDict())[question] = None

    def remove(self, question: Question, sender: str) -> None:
        """Remove a question, if it is here."""
        waiting = self._senders.get(sender)
        if waiting is not None:
            waiting.pop(question, None)
            if not waiting:
                del self._senders[sender]

    def firsts(self) -> Iterator[tuple[str, Question]]:
        """Yield each sender's first question, in the order of their turns."""
        for sender, waiting in self._senders.items():
            yield sender, next(iter(waiting))

    def had_turn(self, sender: str) -> None:
        """Let the other senders go before this one."""
        if sender in self._senders:
            self._senders.move_to_end(sender)


class DnsLines:
    """The lines of waiting questions for `most` turns."""

    def __init__(self, most: int) -> None:
        self._lines: dict[TrafficClass, list[_Line]] = {
            traffic_class: [_Line() for _ in range(_DEPTHS)] for traffic_class in TrafficClass
        }
        self._depths: Counter[str] = Counter()
        self._open = Places(most)
        self._later = Places(max(1, int(most * _LATER)))  # of these, for later questions

    def stand(self, question: Question, asker: Asker) -> None:
        """Let a question wait in an asker's line."""
        standing = self._standing(asker)
        question.standings.append(standing)
        self._depths[asker.name] += 1
        self._line(standing).add(question, asker.sender)

    def next(self) -> Question | None:
        """Take the next question, None when none may be asked now."""
        for traffic_class, lines in self._lines.items():
            if self._open.free(traffic_class) <= 0:
                continue
            has_later = self._later.free(traffic_class) > 0
            for depth, line in enumerate(lines if has_later else lines[:_FIRST]):
                for sender, question in line.firsts():
                    if self._may_begin(traffic_class, sender, depth):
                        self._begin(question, sender, line)
                        return question
        return None

    def leave(self, question: Question) -> None:
        """Remove a question that was asked, or that nobody needs any more."""
        self._withdraw(question)
        for standing in question.standings:
            name = standing.asker.name
            self._depths[name] -= 1
            if not self._depths[name]:
                del self._depths[name]
        if question.turn is not None:
            asker = question.turn.asker
            self._open.give_back(asker.traffic_class, asker.sender)
            if question.turn.is_later:
                self._later.give_back(asker.traffic_class, asker.sender)

    def has_turn(self, asker: Asker) -> bool:
        """Whether an asker's next question could begin at once if no other waits."""
        return self._may_begin(asker.traffic_class, asker.sender, self._standing(asker).depth)

    def _standing(self, asker: Asker) -> _Standing:
        return _Standing(asker, min(self._depths[asker.name], _DEPTHS - 1))

    def _line(self, standing: _Standing) -> _Line:
        return self._lines[standing.asker.traffic_class][standing.depth]

    def _begin(self, question: Question, sender: str, line: _Line) -> None:
        standing = next(
            each
            for each in question.standings
            if each.asker.sender == sender and self._line(each) is line
        )
        self._withdraw(question)
        line.had_turn(sender)
        question.turn = standing
        self._open.take(standing.asker.traffic_class, sender)
        if standing.is_later:
            self._later.take(standing.asker.traffic_class, sender)

    def _may_begin(self, traffic_class: TrafficClass, sender: str, depth: int) -> bool:
        if depth >= _FIRST and not self._later.has_one(traffic_class, sender):
            return False
        return self._open.has_one(traffic_class, sender)

    def _withdraw(self, question: Question) -> None:
        for standing in question.standings:
            self._line(standing).remove(question, standing.asker.sender)
