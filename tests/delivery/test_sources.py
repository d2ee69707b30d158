"""Source addresses that are not on this machine: mail leaves from another one of its Relay."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from postroad.delivery.routing.routes import MailHost
from postroad.delivery.routing.sources import MissingSources, suiting
from postroad.policy.model import Source
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send, to_smarthost

HERE = Source("here", "127.0.0.1")
AWAY, GONE = Source("away", "192.0.2.1", weight=3), Source("gone", "198.51.100.7")
HOSTS = (MailHost("mx", 25, ("127.0.0.1",)),)


async def test_mail_leaves_from_another_source_in_the_same_attempt() -> None:
    spool, mx = MemorySpool(), ScriptedMx()
    with capture_logs() as lines:
        async with mx, delivering(spool):
            await publish(spool, anywhere=replace(to_smarthost(mx), sources=(HERE, AWAY)))
            await send(spool, *(f"{number}@y.example" for number in range(30)))
            events = await history(spool, EventType.DELIVERY, 30)
    assert {event.attempt for event in events} == {1}
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["source"], line["address"]) for line in warnings] == [("away", "192.0.2.1")]


async def test_mail_waits_if_no_source_is_on_this_machine() -> None:
    spool, mx = MemorySpool(), ScriptedMx()
    async with mx, delivering(spool):
        await publish(spool, anywhere=replace(to_smarthost(mx), sources=(AWAY, GONE)))
        await send(spool, "b@y.example")
        [failure] = await history(spool, EventType.TRANSIENT_FAILURE)
    assert "source address " in failure.reply
    assert "Cannot assign requested address" in failure.reply
    assert mx.connections == 0


@pytest.mark.parametrize(
    ("missing", "after", "drawn"),
    [
        ((), 0.0, {AWAY}),
        ((AWAY,), 0.0, {HERE, GONE}),
        ((AWAY, GONE), 0.0, {HERE}),
        ((AWAY, GONE, HERE), 0.0, {AWAY}),
        ((AWAY,), 61.0, {AWAY}),
    ],
)
def test_a_source_that_is_missing_is_left_out_for_a_while(
    missing: tuple[Source, ...], after: float, drawn: set[Source]
) -> None:
    known = MissingSources()
    for source in missing:
        assert source.address is not None
        assert known.fails(source.address, 100.0)
    found = {suiting(AWAY, (HERE, AWAY, GONE), HOSTS, known, 100.0 + after) for _ in range(50)}
    assert found == drawn


def test_a_source_is_told_of_once_until_it_works_again() -> None:
    known = MissingSources()
    assert [known.fails("192.0.2.1", now) for now in (1.0, 2.0, 900.0)] == [True, False, False]
    known.works("192.0.2.1")
    assert known.fails("192.0.2.1", 901.0)
