"""The addresses that an attempt tries: in order, each once, and only tried ones count."""

from postroad.delivery.attempt.candidates import MAX_TRIES, MAX_VERDICTS, Candidates
from postroad.delivery.routing.routes import MailHost, Route


def candidates(
    *hosts: tuple[str, ...], source: str | None = None, last: tuple[str, ...] = ()
) -> Candidates:
    named = tuple(MailHost(f"mx{n}", 25, addresses) for n, addresses in enumerate(hosts))
    return Candidates(Route("site", named), source, last=last)


def walk(tried: Candidates, *, unroutable: bool = False) -> list[str]:
    found = []
    while (target := tried.next()) is not None:
        found.append(target[1])
        if unroutable and ":" in target[1]:
            tried.untried()
    return found


def test_hosts_are_tried_in_order() -> None:
    tried = candidates(("192.0.2.1", "192.0.2.2"), ("192.0.2.3",))
    assert tried.first is not None
    assert tried.first[1] == "192.0.2.1"
    assert walk(tried) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_enough_is_enough() -> None:
    assert len(walk(candidates(tuple(f"192.0.2.{n}" for n in range(20))))) == MAX_TRIES


def test_an_address_that_no_route_leads_to_costs_no_try() -> None:
    six = tuple(f"2001:db8::{n}" for n in range(8))
    found = walk(candidates(six, ("192.0.2.1",)), unroutable=True)
    assert found[-1] == "192.0.2.1"
    assert walk(candidates(six, ("192.0.2.1",))) == list(six[:MAX_TRIES])


def test_addresses_of_another_family_than_the_source_are_no_candidates() -> None:
    both = ("2001:db8::1", "192.0.2.1")
    assert walk(candidates(both, source="192.0.2.9")) == ["192.0.2.1"]
    assert walk(candidates(both, source="2001:db8::9")) == ["2001:db8::1"]
    alone = candidates(("192.0.2.1",), source="2001:db8::9")
    assert (alone.first, alone.next()) == (None, None)


def test_the_other_addresses_of_a_host_that_said_not_now_come_last() -> None:
    tried = candidates(("192.0.2.1", "192.0.2.2"), ("192.0.2.3",))
    target = tried.next()
    assert target is not None
    tried.leave(target[0])
    assert walk(tried) == ["192.0.2.3", "192.0.2.2"]


def test_hosts_that_are_in_doubt_are_begun_with_last_the_latest_at_the_end() -> None:
    hosts = ("192.0.2.1", "192.0.2.2"), ("192.0.2.3",), ("192.0.2.4",)
    tried = candidates(*hosts, last=("mx1", "elsewhere", "mx0"))
    assert tried.first is not None
    assert tried.first[1] == "192.0.2.4"
    assert walk(tried) == ["192.0.2.4", "192.0.2.3", "192.0.2.1", "192.0.2.2"]


def test_not_now_is_heard_from_a_few_hosts_only() -> None:
    tried = candidates(*((f"192.0.2.{n}",) for n in range(6)))
    asked = 0
    while (target := tried.next()) is not None:
        asked += 1
        tried.leave(target[0])
    assert asked == MAX_VERDICTS
