"""The name server is down if even a probe is not answered; the first answer ends that state."""

from postroad.dns.breaker import Breaker


def silent(times: int) -> Breaker:
    breaker = Breaker()
    breaker.answers(100.0)
    for _ in range(times):
        breaker.is_silent()
    return breaker


def away(times: int = 5) -> Breaker:
    breaker = silent(times)
    breaker.is_away(110.0, began=107.0)
    return breaker


def test_some_silence_is_that_of_a_domain() -> None:
    assert not silent(4).is_in_doubt(200.0)
    assert not silent(50).is_in_doubt(102.0), "something was answered just now"
    assert silent(5).is_in_doubt(110.0)


def test_silent_names_alone_do_not_make_the_server_count_as_away() -> None:
    breaker = silent(500)
    breaker.asking = 100
    assert breaker.admits()
    breaker.answers(110.0)  # the probe
    assert not breaker.is_in_doubt(200.0)
    assert breaker.admits()


def test_while_it_is_away_a_few_are_asked() -> None:
    breaker = away()
    asked = 0
    while breaker.admits():
        breaker.asking += 1
        asked += 1
    assert asked == 3


def test_a_server_that_is_away_is_probed_again_after_some_seconds() -> None:
    breaker = away()
    assert not breaker.is_in_doubt(114.9)
    assert breaker.is_in_doubt(115.0)
    breaker.is_away(118.0, began=115.0)
    assert not breaker.is_in_doubt(122.9)


def test_the_first_answer_ends_it() -> None:
    breaker = away(50)
    breaker.asking = 3
    assert not breaker.admits()
    breaker.answers(110.0)
    assert breaker.admits()
    assert not breaker.is_in_doubt(200.0)


def test_an_answer_while_the_probe_waits_says_that_the_server_is_there() -> None:
    breaker = silent(5)
    breaker.answers(108.0)
    breaker.is_away(110.0, began=107.0)
    assert breaker.admits()
    assert not breaker.is_in_doubt(120.0)


def test_names_that_are_known_to_be_silent_cast_no_doubt_and_do_not_have_all_tries() -> None:
    breaker = silent(0)
    for _ in range(50):
        breaker.is_silent(slow=True)
    assert not breaker.is_in_doubt(200.0)
    breaker = away()
    while breaker.admits(slow=True):
        breaker.asking += 1
    assert breaker.asking == 2
    assert breaker.admits(), "another may have an answer"
