"""The order of DNS questions: first ones first, transactional before bulk, senders in turn."""

import asyncio

import pytest

from postroad.dns.questions.lines import Asker, DnsLines, Question
from postroad.dns.questions.turns import DnsTurns
from postroad.mail.traffic import TrafficClass
from postroad.testing.patience import patient


def stand(
    lines: DnsLines, name: str, count: int = 1, *, bulk: bool = False, sender: str = ""
) -> list[Question]:
    """Let so many questions of a domain wait, each domain's of a sender of its own."""
    traffic_class = TrafficClass.BULK if bulk else TrafficClass.TRANSACTIONAL
    asker = Asker(name, traffic_class, sender=sender or name)
    questions = [Question() for _ in range(count)]
    for question in questions:
        lines.stand(question, asker)
    return questions


def begun(lines: DnsLines) -> list[Question]:
    """Return all that may be asked now, in their order."""
    found = []
    while (question := lines.next()) is not None:
        found.append(question)
    return found


def test_a_domain_that_asks_alone_has_a_part_of_the_later_turns_and_its_first_ones() -> None:
    """Half of the turns are for later questions, and three quarters of those for one sender."""
    lines = DnsLines(100)
    assert begun_of(lines, stand(lines, "evil.test", 60)) == 40


def begun_of(lines: DnsLines, questions: list[Question]) -> int:
    """Return how many of the questions are asked when all that may are."""
    return len(set(begun(lines)) & set(questions))


def test_the_first_questions_of_a_domain_go_before_the_further_ones_of_all_others() -> None:
    lines = DnsLines(10)
    greedy = [question for n in range(200) for question in stand(lines, f"d{n}.evil.test", 20)]
    under_way = begun(lines)
    assert len(under_way) == 10
    for _ in range(40):  # all domains have had their first ones
        for question in under_way:
            lines.leave(question)
        under_way = begun(lines)
    assert len(under_way) == 5, "half are kept for firsts"
    good = stand(lines, "good.test", 2)
    assert begun(lines) == good
    assert not set(good) & set(greedy)


def test_a_domain_whose_questions_have_ended_is_at_its_first_ones_again() -> None:
    lines = DnsLines(4)
    for _ in range(5):
        stand(lines, "evil.test", 20)
        first, second = stand(lines, "good.test", 2)
        assert {first, second} <= set(begun(lines))
        lines.leave(first)
        lines.leave(second)


@pytest.mark.parametrize(("bulk_first", "asked"), [(True, 9), (False, 3)])
def test_transactional_goes_before_bulk_which_has_three_quarters_at_most(
    bulk_first: bool, asked: int
) -> None:
    lines = DnsLines(12)
    newsletter = [q for n in range(40) for q in stand(lines, f"news{n}.test", bulk=True)]
    found = begun(lines) if bulk_first else []
    transactional = [q for n in range(9) for q in stand(lines, f"shop{n}.test")]
    found += begun(lines)
    assert len(set(found) & set(newsletter)) == asked
    assert len(set(found) & set(transactional)) == 12 - asked


def test_a_question_that_two_need_is_asked_when_the_first_of_them_has_a_turn() -> None:
    lines = DnsLines(8)
    *_, shared = stand(lines, "evil.test", 20)
    assert shared not in begun(lines)
    lines.stand(shared, Asker("good.test", sender="good"))
    assert begun(lines) == [shared]
    lines.leave(shared)
    assert shared not in begun(lines), "it is asked once"


def test_what_is_waited_for_no_more_leaves_its_line() -> None:
    lines = DnsLines(1)
    (first,), (gone,), (last,) = (stand(lines, f"{n}.test") for n in range(3))
    assert begun(lines) == [first]
    lines.leave(gone)
    lines.leave(first)
    assert begun(lines) == [last]
    assert not lines.has_turn(Asker("4.test"))
    lines.leave(last)
    assert lines.has_turn(Asker("4.test"))


def evil(lines: DnsLines, sender: str) -> list[Question]:
    """Let a hundred domains of a sender wait."""
    return [q for n in range(100) for q in stand(lines, f"{n}.{sender}", sender=sender)]


@pytest.mark.parametrize(("senders", "each"), [(1, 30), (2, 17), (10, 3)])
def test_no_senders_leave_another_without_a_turn(senders: int, each: int) -> None:
    lines = DnsLines(40)
    greedy = [evil(lines, f"evil{n}") for n in range(senders)]
    under_way = set(begun(lines))
    shares = [len(under_way & set(questions)) for questions in greedy]
    assert max(shares) - min(shares) <= 1
    assert min(shares) == each
    good = stand(lines, "good.test", sender="good")
    assert begun(lines) == good


def test_senders_have_turns_one_after_the_other() -> None:
    lines = DnsLines(1)
    evil(lines, "evil")
    [under_way] = begun(lines)
    wanted = [*stand(lines, "good.test", sender="good"), *stand(lines, "fine.test", sender="fine")]
    asked = []
    for _ in range(4):
        lines.leave(under_way)
        [under_way] = begun(lines)
        asked.append(under_way)
    assert set(wanted) < set(asked)


def test_a_senders_later_questions_do_not_wait_for_the_first_ones_of_who_has_his_share() -> None:
    lines = DnsLines(8)
    evil(lines, "evil")
    under_way = begun(lines)
    good = stand(lines, "good.test", 3, sender="good")
    assert begun(lines) == good[:2], "all turns are taken"
    lines.leave(under_way[0])
    assert begun(lines) == good[2:]


def test_no_sender_has_all_turns_for_later_questions() -> None:
    lines = DnsLines(16)
    stand(lines, "evil.test", 40, sender="evil")
    begun(lines)
    good = stand(lines, "good.test", 4, sender="good")
    assert begun(lines) == good


def test_a_sender_with_its_share_has_no_turn_at_once_and_others_have() -> None:
    lines = DnsLines(4)
    evil(lines, "evil")
    begun(lines)
    assert not lines.has_turn(Asker("new.test", sender="evil"))
    assert lines.has_turn(Asker("new.test", sender="good"))


async def test_who_joins_a_question_that_begins_takes_no_further_turn() -> None:
    """However many join before its task goes on: nobody would give those turns back."""
    turns, mine, other = DnsTurns(16), Asker("a", sender="a"), Asker("b", sender="b")
    ends = asyncio.Event()

    async def ask(key: str, asker: Asker) -> None:
        async with turns.turn(key, [asker]):
            await ends.wait()

    async with asyncio.timeout(patient(10)), asyncio.TaskGroup() as group:
        for number in range(12):  # its share
            group.create_task(ask(f"first{number}", Asker(f"d{number}", sender="a")))
        await asyncio.sleep(0)
        group.create_task(ask("shared", mine))
        await asyncio.sleep(0)
        for _ in range(5):
            turns.join("shared", other)
        ends.set()
    ends.clear()
    async with asyncio.timeout(patient(10)), asyncio.TaskGroup() as group:
        for number in range(12):  # as many at a time as before
            asker = Asker(f"d{number}", sender="a")
            assert turns.has_turn(asker)
            group.create_task(ask(f"again{number}", asker))
            await asyncio.sleep(0)
        ends.set()
