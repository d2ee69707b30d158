"""Records that were put off because of their site are remembered, within bounds and in order."""

from postroad.delivery.dispatch.parked import Parked, ParkedMail
from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId, new_queue_id
from postroad.testing.queue.queued_mail import now

SITE, OTHER = ("mx.test", "relay:a/b"), ("mx.test", "relay:a/c")
EXPRESS, BULK = TrafficClass


def parked(due: float, *, places: int = 1, lane: str = "1") -> Parked:
    return Parked(RecordId(new_queue_id(now(), 0), 0), "y.example", lane, places, due)


def test_the_first_come_back_first_and_express_before_bulk() -> None:
    mail = ParkedMail()
    bulk, one, two, three = (parked(100.0 + number) for number in range(4))
    mail.add(SITE, BULK, bulk)
    for each in (one, two, three):
        mail.add(SITE, EXPRESS, each)
    assert mail.take(SITE, 2, most=10, after=50.0) == [one, two]
    assert mail.take(SITE, 10, most=10, after=50.0) == [three, bulk]
    assert not mail.has(SITE)


def test_what_is_due_soon_is_left_to_come_by_itself() -> None:
    mail = ParkedMail()
    soon, later = parked(105.0, places=3), parked(120.0)
    for each in (soon, later):
        mail.add(SITE, EXPRESS, each)
    assert mail.coming(SITE, 110.0) == 3
    assert mail.take(SITE, 10, most=10, after=110.0) == [later]
    assert mail.has(SITE)


def test_what_comes_back_takes_no_more_places_than_there_are_but_the_last() -> None:
    mail = ParkedMail()
    for number in range(6):
        mail.add(SITE, EXPRESS, parked(100.0 + number, places=3))
    assert len(mail.take(SITE, 4, most=10, after=0.0)) == 2
    assert len(mail.take(SITE, 100, most=3, after=0.0)) == 3
    assert mail.take(SITE, 0, most=10, after=0.0) == []


def test_each_site_has_its_own_and_what_came_is_forgotten() -> None:
    mail = ParkedMail()
    mine, others = parked(100.0), parked(100.0)
    mail.add(SITE, EXPRESS, mine)
    mail.add(OTHER, EXPRESS, others)
    mail.came(SITE, EXPRESS, mine.record_id)
    mail.came(SITE, EXPRESS, others.record_id)
    assert not mail.has(SITE)
    assert mail.take(OTHER, 10, most=10, after=0.0) == [others]


def test_no_more_is_remembered_than_may_be() -> None:
    mail = ParkedMail(most=2)
    one, two, three = (parked(100.0) for _ in range(3))
    for each in (one, two, three, one):
        mail.add(SITE, EXPRESS, each)
    mail.came(SITE, EXPRESS, one.record_id)
    mail.add(OTHER, EXPRESS, three)
    assert mail.take(SITE, 10, most=10, after=0.0) == [two]
    assert mail.take(OTHER, 10, most=10, after=0.0) == [three]


def test_what_is_anothers_or_did_not_come_is_forgotten() -> None:
    mail = ParkedMail()
    left, late, stays = parked(1000.0, lane="2"), parked(100.0), parked(1000.0)
    for each in (left, late, stays):
        mail.add(SITE, EXPRESS, each)
    mail.leave("2")
    mail.forget(200.0)
    assert mail.take(SITE, 10, most=10, after=0.0) == [stays]


def test_mail_is_put_off_for_a_minute_unless_much_would_come_back_too_often() -> None:
    mail = ParkedMail(most=9001)
    assert mail.longest == 60.0, "if nobody remembers it, it is back soon"
    for _ in range(3000):
        mail.add(SITE, EXPRESS, parked(100.0))
    assert mail.longest == 60.0
    for _ in range(6000):
        mail.add(OTHER, BULK, parked(100.0))
    assert mail.longest == 180.0, "fifty a second"
    mail.add(OTHER, BULK, parked(100.0))
    assert mail.longest == 900.0, "there may be any number besides"
