"""A site that could not be reached is left alone for a while; its mail then comes back in turns."""

from postroad.delivery.sites.downtime import MAX_DOWN, Downtime
from postroad.mail.traffic import TrafficClass

TRANSACTIONAL, BULK = TrafficClass


def put_off(site: Downtime, traffic_class: TrafficClass, now: float) -> float:
    """Return for how many seconds mail is put off, of a site of whose pace nothing is known."""
    return site.put_off(traffic_class, now, rate=None, longest=900.0)


def test_a_site_that_could_not_be_reached_is_left_alone_for_a_while() -> None:
    site = Downtime()
    assert not site.lasts(100.0)
    site.begins("no connection", 100.0, retry_first=30.0)
    assert site.lasts(114.9)
    assert not site.lasts(115.0)
    site.begins("no connection", 200.0, retry_first=86400.0)
    assert not site.lasts(200.0 + MAX_DOWN)
    site.begins("no connection", 300.0, retry_first=30.0)
    site.ends()
    assert not site.lasts(300.0)


def test_what_comes_while_a_site_is_down_comes_back_when_it_may_be_up_one_first() -> None:
    site = Downtime()
    site.begins("no connection", 100.0, retry_first=30.0)
    waits = [put_off(site, TRANSACTIONAL, 110.0) for _ in range(100)]
    assert waits[0] == 5.0
    assert waits == sorted(waits)
    assert 10 < waits[-1] < 20
    site.begins("no connection", 120.0, retry_first=30.0)
    assert put_off(site, TRANSACTIONAL, 130.0) == 5.0


def test_after_an_outage_transactional_comes_first_however_much_bulk_came_meanwhile() -> None:
    site = Downtime()
    site.begins("no connection", 100.0, retry_first=120.0)
    bulk = [put_off(site, BULK, 110.0) for _ in range(3000)]
    transactional = [put_off(site, TRANSACTIONAL, 110.0) for _ in range(4)]
    assert bulk[-1] > 300
    assert transactional[0] == 50.0
    assert max(transactional) < 51
