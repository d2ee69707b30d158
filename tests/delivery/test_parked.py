"""Records that were put off because of their site are remembered, within bounds and in order."""

from postroad.delivery.dispatch.parking.parked import Parked, ParkedLine, ParkedMail
from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import RecordId, new_queue_id
from postroad.spool.lanes.owners import LaneKey
from postroad.testing.queue.queued_mail import now

SITE, OTHER = ("mx.test", "relay:a/b"), ("mx.test", "relay:a/c")
TRANSACTIONAL, BULK = TrafficClass
LANE = LaneKey("default", "p01")


def parked(
    since: float, *, due: float = 100.0, places: int = 1, lane_key: LaneKey = LANE
) -> Parked:
    record_id = RecordId(new_queue_id(now(), 0), 0)
    return Parked(record_id, "y.example", lane_key, places, since, due, stored=True)


def line(*records: Parked) -> ParkedLine:
    found = ParkedLine()
    for each in records:
        found.add(each)
    return found


def recalled(found: ParkedLine, places: int, *, few: int = 0, most: int = 10) -> list[Parked]:
    return found.recall(places, few=few, most=most, after=50.0)


def left(mail: ParkedMail) -> list[Parked]:
    """Return what is remembered of both sites, in order."""
    sites = [each for key in (SITE, OTHER) if (each := mail.at(key)) is not None]
    return [
        record for each in sites for found in (each.transactional, each.bulk) for record in found
    ]


def test_the_first_to_come_is_the_first_to_be_recalled_whenever_it_was_parked() -> None:
    one, two, three = (parked(float(number)) for number in range(3))
    found = line(three, one, two)
    assert recalled(found, 2) == [one, two]
    assert found.coming == 2
    assert recalled(found, 2) == [three], "nothing is recalled twice"
    found.remove(one)
    assert found.coming == 2


def test_what_is_due_soon_is_left_to_come_by_itself_and_a_place_is_reserved() -> None:
    soon, later = parked(1.0, due=40.0, places=3), parked(2.0, due=55.0)
    assert recalled(line(soon, later), 3, few=3) == []
    assert recalled(line(soon, later), 3, few=2) == [later], "not all places are reserved"


def test_what_is_due_much_later_than_others_around_it_has_a_few_more_places() -> None:
    """Else it waits until it is due, and all that is due before goes before it."""
    first, second, third = parked(1.0, due=55.0), parked(2.0, due=200.0), parked(3.0, due=200.0)
    assert recalled(line(first, second, third), 0, few=2) == [second]


def test_what_is_being_stored_cannot_be_recalled_yet_and_keeps_its_place() -> None:
    storing, later = parked(1.0), parked(2.0)
    storing.stored = False
    assert recalled(line(storing, later), 1) == []
    assert recalled(line(storing, later), 2) == [later]


def test_what_is_recalled_takes_no_more_places_than_there_are_but_the_last() -> None:
    found = line(*(parked(float(number), places=3) for number in range(6)))
    assert len(recalled(found, 4)) == 2
    assert len(recalled(found, 100, most=3)) == 3
    assert recalled(found, 0) == []


def test_transactional_goes_before_bulk_and_each_behind_what_came_before_it() -> None:
    mail = ParkedMail()
    for since in (10.0, 20.0, 30.0):
        mail.add(SITE, BULK, parked(since, places=2))
        mail.add(SITE, TRANSACTIONAL, parked(since, places=2))
    lines = mail.at(SITE)
    assert lines is not None
    assert lines.before(TRANSACTIONAL, 25.0) == 2
    assert lines.before(BULK, 25.0) == 5
    assert lines.places_before(TRANSACTIONAL, 25.0, most=100) == 4
    assert lines.places_before(BULK, 25.0, most=100) == 10
    assert lines.places_before(BULK, 25.0, most=3) >= 3


def test_each_site_has_its_own_and_what_came_is_forgotten() -> None:
    mail = ParkedMail()
    mine, others = parked(1.0), parked(1.0)
    mail.add(SITE, TRANSACTIONAL, mine)
    mail.add(OTHER, TRANSACTIONAL, others)
    assert mail.came(mine.record_id) is mine
    assert mail.came(mine.record_id) is None
    assert mail.at(SITE) is None
    assert left(mail) == [others]


def test_what_could_not_be_stored_is_forgotten_unless_it_was_parked_again() -> None:
    mail = ParkedMail()
    first = parked(1.0)
    mail.add(SITE, TRANSACTIONAL, first)
    again = Parked(first.record_id, "y.example", LANE, 1, 1.0, 200.0)
    mail.add(SITE, TRANSACTIONAL, again)
    mail.drop(first)
    assert left(mail) == [again]
    mail.drop(again)
    assert len(mail) == 0


def test_no_more_is_remembered_than_may_be_and_the_longest_line_forgets_its_last() -> None:
    mail = ParkedMail(most=3)
    one, two, three, other = parked(1.0), parked(2.0), parked(3.0), parked(9.0)
    for each in (three, one, two):
        mail.add(SITE, TRANSACTIONAL, each)
    mail.add(OTHER, BULK, other)
    assert left(mail) == [one, two, other]


def test_what_is_anothers_or_did_not_come_is_forgotten() -> None:
    mail = ParkedMail()
    late, stays = parked(2.0), parked(3.0, due=1000.0)
    gone = parked(1.0, due=1000.0, lane_key=LaneKey("bulk", LANE.lane))
    for each in (gone, late, stays):
        mail.add(SITE, TRANSACTIONAL, each)
    mail.leave(gone.lane_key)
    mail.forget(200.0)
    assert left(mail) == [stays], "each pool has a lane of this name"


def test_mail_is_put_off_for_two_minutes_unless_much_would_come_back_too_often() -> None:
    mail = ParkedMail(most=9001)
    assert mail.longest == 120.0, "if nobody remembers it, it is back soon"
    for _ in range(6000):
        mail.add(SITE, TRANSACTIONAL, parked(1.0))
    assert mail.longest == 120.0
    for _ in range(3000):
        mail.add(OTHER, BULK, parked(1.0))
    assert mail.longest == 180.0, "fifty a second"
    mail.add(OTHER, BULK, parked(1.0))
    assert mail.longest == 900.0, "there may be any number besides"
