"""Failed logins by network, and by network and name; a name alone is never shut out."""

from datetime import UTC, datetime, timedelta

from postroad.acceptance.counts.windows import WINDOW
from postroad.ingress.auth.brake import LONGEST_DELAY, Brake, Guess

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SHOP = Guess.of("192.0.2.1", "shop")
SHOP_ELSEWHERE = Guess.of("198.51.100.9", "shop")
OTHER = Guess.of("192.0.2.1", "other")


def brake(per_network: int = 6, per_name: int = 3) -> Brake:
    return Brake(per_network=per_network, per_name=per_name)


def test_a_name_is_shut_out_where_it_was_guessed_and_nowhere_else() -> None:
    counts = brake()
    for _ in range(3):
        assert not counts.shuts_out(SHOP, NOW)
        counts.failed(SHOP, NOW)
    assert counts.shuts_out(SHOP, NOW)
    assert not counts.shuts_out(SHOP_ELSEWHERE, NOW)
    assert not counts.shuts_out(OTHER, NOW)


def test_a_network_that_tries_many_names_is_shut_out_as_a_whole() -> None:
    counts = brake()
    for number in range(6):
        counts.failed(Guess.of("192.0.2.1", f"name {number}"), NOW)
    assert counts.shuts_out(OTHER, NOW)
    assert not counts.shuts_out(SHOP_ELSEWHERE, NOW)


def test_who_has_logged_in_from_a_network_is_not_shut_out_for_its_neighbours() -> None:
    counts = brake()
    counts.remember(SHOP)
    for number in range(20):
        counts.failed(Guess.of("192.0.2.1", f"name {number}"), NOW)
    assert not counts.shuts_out(SHOP, NOW)
    for _ in range(3):
        counts.failed(SHOP, NOW)
    assert counts.shuts_out(SHOP, NOW)  # but guessing that very name is guessing


def test_the_next_window_begins_anew() -> None:
    counts = brake()
    for _ in range(3):
        counts.failed(SHOP, NOW)
    assert not counts.shuts_out(SHOP, NOW + WINDOW)


def test_the_delay_grows_and_has_an_end() -> None:
    counts = brake(per_network=100)
    delays = [counts.failed(Guess.of("192.0.2.1", str(n)), NOW) for n in range(40)]
    assert delays == sorted(delays)
    assert delays[0] < timedelta(seconds=1) < delays[5]
    assert delays[-1] == LONGEST_DELAY


def test_what_the_cluster_has_used_up_counts_here() -> None:
    counts = brake()
    for name, _ in counts.shared(SHOP, NOW):
        counts.used_up(name, NOW)
        break
    assert counts.shuts_out(SHOP, NOW)
    assert not counts.shuts_out(OTHER, NOW)


def test_keys_of_the_cluster_hold_no_name_and_end() -> None:
    hostile = Guess.of("192.0.2.1", "a.b *>\r\n" * 1000)
    for _, count in brake().shared(hostile, NOW):
        assert len(count.key) < 120
        assert "*" not in count.key
        assert NOW < count.expires < NOW + 3 * WINDOW


def test_ten_thousand_networks_later_memory_is_what_it_was() -> None:
    counts = brake(per_network=1)
    counts.failed(SHOP, NOW)
    for number in range(20_000):
        counts.failed(Guess.of(f"network {number}", "shop"), NOW)
    assert not counts.shuts_out(SHOP, NOW)  # forgotten here; the cluster's count still knows
