"""A short flood: the measurement works. `make flood` measures how much of the rate is left."""

from postroad_harness.connections.flood import flood


def test_a_clients_mail_is_taken_beside_a_flood_of_connections() -> None:
    phases, turned_away = flood(seconds=1, rate=1000)
    assert [phase.name for phase in phases][1::2] == ["one address", "200 addresses"]
    assert all(phase.rate > 0 for phase in phases)
    assert sum(phase.failed for phase in phases) == 0
    assert turned_away > 0
