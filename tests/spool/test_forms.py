"""When a record is in the queue in two forms, exactly one of them goes on."""

from types import SimpleNamespace
from typing import Any

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.consume.forms import Forms
from postroad.spool.jetstream.in_flight import InFlight, InFlightEntry
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.testing.queue.queued_mail import now, record

FIRST, COPY = Key(QueueStream.WAITING, 0, 1), Key(QueueStream.WAITING, 0, 2)
RECORD = record(new_queue_id(now(), 0))


class Scene:
    """A record in hand, and a copy of it that has come; `followed`: its next form is stored."""

    def __init__(self, *, followed: bool = False) -> None:
        async def is_followed(*_: object) -> bool:
            return followed

        succession: Any = SimpleNamespace(is_followed=is_followed)
        self.hand: InFlight[str] = InFlight(places=2)
        lease = self.hand.open(FIRST, "reply", 0.0)
        self.hand.add(InFlightEntry(FIRST, lease, 1, "mail"))
        self.forms = Forms(self.hand, succession)
        assert self.forms.begin(FIRST, RECORD)
        assert not self.forms.begin(COPY, RECORD)

    async def copy_is_passed(self) -> bool:
        return await self.forms.is_passed(COPY, RECORD)


async def test_a_copy_of_what_is_being_delivered_is_passed_over() -> None:
    assert await Scene().copy_is_passed()


async def test_a_copy_waits_while_what_follows_of_the_record_is_being_stored() -> None:
    """That may fail, and if the process is killed then, the copy is all that is left."""
    scene = Scene()
    scene.forms.leave(FIRST, RECORD)
    with pytest.raises(SpoolUnavailable):
        await scene.copy_is_passed()


@pytest.mark.parametrize("followed", [True, False])
async def test_a_copy_goes_on_where_what_followed_is_not_there(followed: bool) -> None:
    scene = Scene(followed=followed)
    scene.forms.leave(FIRST, RECORD)
    scene.hand.finish(FIRST)
    assert await scene.copy_is_passed() == followed


async def test_a_copy_goes_on_where_the_record_was_given_back() -> None:
    scene = Scene()
    scene.hand.drop(FIRST)
    assert not await scene.copy_is_passed()
