"""The order in which mail leaves a site that gets more than it takes: that of its arrival."""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.delivery.dispatch.parking.parked import Parked, ParkedLine
from postroad.delivery.sites.shares import may_wait, recallable, until_turn
from postroad.spool.ids import RecordId
from postroad.spool.lanes.owners import LaneKey

STEP = 0.25  # seconds
MARGIN = 10.0  # seconds before a record is due, in which it cannot be recalled
AT_ONCE = 64
LANE = LaneKey("default", "p01")


@dataclass
class SaturatedSite:
    """A site that takes `rate` messages a second, and its parked mail; numbers stand for mail."""

    rate: float
    longest: float = 120.0
    now: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    parked: ParkedLine = field(default_factory=ParkedLine)
    coming: deque[Parked] = field(default_factory=deque)
    left: list[int] = field(default_factory=list)
    _credit: float = 0.0

    @property
    def room(self) -> int:
        return max(1, int(self.rate * 10))

    def come(self, number: int, *, recalled: bool = False) -> None:
        used = len(self.waiting)
        before = 0 if recalled else self.parked.places_before(number, most=self.room)
        if may_wait(self.room, used, parked=before, coming=self.parked.coming):
            self.waiting.append(number)
            return
        wait = until_turn(
            used + self.parked.before(number),
            room=self.room,
            rate=self.rate,
            not_before=0.0,
            longest=self.longest,
        )
        record_id = RecordId(f"{number:026}", 0)
        due = self.now + wait
        self.parked.add(Parked(record_id, "y.example", LANE, 1, number, due, stored=True))

    def come_back(self, parked: Parked) -> None:
        self.parked.remove(parked)
        self.come(int(parked.since), recalled=parked.recalled)

    def step(self, arriving: list[int]) -> None:
        """Let mail come, what is due or was recalled too, and let the site take some."""
        self.now += STEP
        for number in arriving:
            self.come(number)
        recalled, self.coming = self.coming, deque()
        for each in recalled:
            self.come_back(each)
        for each in [each for each in self.parked if each.due <= self.now and not each.recalled]:
            self.come_back(each)
        places, few = recallable(self.room, len(self.waiting))
        self.coming.extend(
            self.parked.recall(
                places - self.parked.coming,
                few=few,
                most=AT_ONCE,
                after=self.now + MARGIN,
            )
        )
        self._credit = min(self._credit + self.rate * STEP, max(1.0, self.rate))
        while self.waiting and self._credit >= 1.0:
            self._credit -= 1.0
            self.left.append(self.waiting.popleft())


def overtaken(left: list[int]) -> int:
    """Return by how many later ones a record was overtaken, at most."""
    before: list[int] = []
    most = 0
    for number in left:
        insort(before, number)
        most = max(most, len(before) - 1 - bisect_left(before, number))
    return most


# Bursts of mail: how many, and how many seconds until the next one.
bursts = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 20)), min_size=1, max_size=5)


@settings(max_examples=20)
@given(st.sampled_from([4.0, 10.0, 25.0]), bursts, st.floats(0.0, 1.5))
def test_no_record_is_overtaken_by_more_than_a_room_and_what_is_recalled_at_once(
    rate: float, bursts: list[tuple[int, int]], load: float
) -> None:
    """Beside the bursts, mail comes all the time: `load` times what the site takes."""
    site, number, steady = SaturatedSite(rate), 0, 0.0
    for count, pause in bursts:
        arriving = count
        for _ in range(1 + int(pause / STEP)):
            steady += load * rate * STEP
            arriving += int(steady)
            steady -= int(steady)
            site.step(list(range(number, number + arriving)))
            number, arriving = number + arriving, 0
    while len(site.left) < number:
        site.step([])
        assert site.now < number / rate + 60.0 * len(bursts) + 60.0, "the site has been idle"
    assert sorted(site.left) == list(range(number))
    assert overtaken(site.left) <= site.room + AT_ONCE
