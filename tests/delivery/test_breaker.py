"""The DNS is away when nobody answers for a while; the first answer ends that."""

from postroad.delivery.breaker import Breaker


def silent(times: int) -> Breaker:
    breaker = Breaker()
    breaker.answers(100.0)
    for _ in range(times):
        breaker.is_silent()
    return breaker


def test_some_silence_is_that_of_a_domain() -> None:
    assert silent(4).admits(200.0)
    assert silent(50).admits(102.0), "something was answered just now"


def test_while_it_is_away_a_few_are_asked() -> None:
    breaker = silent(5)
    asked = 0
    while breaker.admits(110.0):
        breaker.asking += 1
        asked += 1
    assert asked == 3


def test_the_first_answer_ends_it() -> None:
    breaker = silent(50)
    breaker.asking = 3
    assert not breaker.admits(110.0)
    breaker.answers(110.0)
    assert breaker.admits(110.0)


def test_names_that_are_known_to_be_silent_neither_open_it_nor_have_all_its_tries() -> None:
    breaker = silent(0)
    for _ in range(50):
        breaker.is_silent(slow=True)
    assert breaker.admits(200.0)
    breaker = silent(5)
    while breaker.admits(110.0, slow=True):
        breaker.asking += 1
    assert breaker.asking == 2
    assert breaker.admits(110.0), "another may have an answer"
