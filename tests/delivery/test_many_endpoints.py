"""The memory of a process for very many destinations: entries in use stay."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from postroad.delivery.routing import egress_paths as way
from postroad.smtp_client.endpoint import EndpointRegistry
from postroad.smtp_client.peer import Peer
from postroad.testing.queue.queued_mail import record

MANY = 20_000  # are kept
QUEUE_ID = "01M8MVHEG903S97TNQX4M7GWJH"


def peer(number: int) -> Peer:
    return Peer(f"mx{number}.example", "192.0.2.1", 25, "relay.example")


def test_an_endpoint_in_use_is_kept_however_many_others_there_are() -> None:
    """All were forgotten at once: idle sessions were not found again, nor what hosts can do."""
    endpoints = EndpointRegistry()
    in_use = endpoints.of("default/relay", peer(0))
    in_use.speak_plainly()
    for number in range(1, 2 * MANY):
        endpoints.of("default/relay", peer(number))
        if number % 1000 == 0:
            assert endpoints.of("default/relay", peer(0)) is in_use


def test_an_endpoint_that_is_not_used_is_forgotten_when_there_are_too_many() -> None:
    endpoints = EndpointRegistry()
    unused = endpoints.of("default/relay", peer(0))
    for number in range(1, MANY + 1):
        endpoints.of("default/relay", peer(number))
    assert endpoints.of("default/relay", peer(0)) is not unused


def test_a_way_out_in_use_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All were forgotten at once, and each looked for again in the configuration."""
    asked: Counter[str] = Counter()

    def find(_: object, *, recipient_domain: str, **__: object) -> None:
        asked[recipient_domain] += 1

    monkeypatch.setattr(way, "find_egress_path", find)
    egress_paths, snapshot, mail = way.EgressPaths(), SimpleNamespace(stale=False), record(QUEUE_ID)
    for number in range(2 * MANY):
        domains = [f"d{number}.example"] + ["used.example"] * (number % 1000 == 0)
        for domain in domains:
            egress_paths.of(snapshot, replace(mail, domain=domain))  # type: ignore[arg-type]
    assert asked["used.example"] == 1


def test_ways_out_are_looked_for_anew_when_the_configuration_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(way, "find_egress_path", lambda snapshot, **_: seen.append(snapshot))
    egress_paths, mail = way.EgressPaths(), record(QUEUE_ID)
    one, other = SimpleNamespace(stale=False), SimpleNamespace(stale=False)
    for snapshot in (one, one, other, None, one):
        egress_paths.of(snapshot, mail)  # type: ignore[arg-type]
    assert seen == [one, other, one]
