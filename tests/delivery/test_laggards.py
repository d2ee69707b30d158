"""A process that does not settle an edit: others name it, and it ends after a while."""

from datetime import timedelta

from structlog.testing import capture_logs

from postroad.delivery.sharing.others import Laggards, may_use_sites
from postroad.delivery.sharing.settled import LONGEST_WAIT, SettledConfiguration
from postroad.policy.limits.portions import Claim, encode
from postroad.policy.model import SiteLimits
from postroad.spool.agreement import SiteKind
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.telemetry import metrics

MINUTE = LONGEST_WAIT.total_seconds()


def two() -> tuple[MemorySpool, MemorySpool]:
    cluster = MemoryCluster()
    return MemorySpool(cluster, process="one"), MemorySpool(cluster, process="late")


def unsettled() -> float | None:
    return metrics.REGISTRY.get_sample_value("postroad_delivery_unsettled_processes")


async def test_a_process_that_does_not_settle_is_named_and_counted() -> None:
    one, late = two()
    await late.site_records.settle(6, now=True)
    laggards = Laggards(one.site_records)
    with capture_logs() as lines:
        laggards.look(7, 0.0)
        laggards.look(7, 4.0)
        assert lines == []
        assert unsettled() == 0
        laggards.look(7, 6.0)
        laggards.look(7, 7.0)
        assert unsettled() == 1
    [line] = lines
    assert line["log_level"] == "warning"
    assert line["other_process"] == "late"
    assert line["generation"] == 7
    await late.site_records.settle(7, now=True)
    with capture_logs() as lines:
        laggards.look(7, 8.0)
    assert [line["log_level"] for line in lines] == ["info"]
    assert unsettled() == 0


async def test_a_process_is_overdue_once_another_has_waited_for_a_minute() -> None:
    one, late = two()
    settled = SettledConfiguration(late.site_records)
    settled.heed(6, hurry=False)
    await settled.tell()
    laggards = Laggards(one.site_records)
    assert not settled.is_overdue(0.0)
    laggards.look(7, 0.0)
    assert not settled.is_overdue(1.0)
    assert not settled.is_overdue(MINUTE)
    assert settled.is_overdue(MINUTE + 2)


async def test_a_process_that_cannot_hear_the_others_goes_on() -> None:
    """NATS is away: nobody can tell whether they still wait, and it can tell them nothing."""
    one, late = two()
    settled = SettledConfiguration(late.site_records)
    settled.heed(6, hurry=False)
    await settled.tell()
    laggards = Laggards(one.site_records)
    laggards.look(7, 0.0)
    assert not settled.is_overdue(0.0)
    late.site_records.hears_others = False
    assert not settled.is_overdue(MINUTE + 2)
    late.site_records.hears_others = True
    assert not settled.is_overdue(MINUTE + 3), "it has a minute again, now that it can settle"
    assert settled.is_overdue(2 * MINUTE + 3)


async def test_a_process_that_settles_late_goes_on() -> None:
    one, late = two()
    settled = SettledConfiguration(late.site_records)
    settled.heed(6, hurry=False)
    await settled.tell()
    laggards = Laggards(one.site_records)
    laggards.look(7, 0.0)
    assert not settled.is_overdue(0.0)
    settled.heed(7, hurry=False)
    await settled.tell()
    assert not settled.is_overdue(MINUTE + 2)
    laggards.look(7, MINUTE)
    laggards.look(8, MINUTE)  # the time begins anew with the next edit
    assert not settled.is_overdue(MINUTE + 3)


async def test_who_waits_for_nobody_ends_nobody() -> None:
    """A process may be late with an edit that concerns no pools; that holds up no other."""
    one, late = two()
    settled = SettledConfiguration(late.site_records)
    settled.heed(6, hurry=False)
    await settled.tell()
    await one.site_records.settle(7, now=True)
    Laggards(one.site_records).look(0, 0.0)
    assert not settled.is_overdue(0.0)
    assert not settled.is_overdue(10 * MINUTE)


async def test_a_process_that_starts_looks_for_those_who_are_behind_and_for_claims() -> None:
    one, late = two()
    ask = one.site_records, one.sessions
    assert not await may_use_sites(*ask, 7)  # it has used nothing yet
    await late.site_records.settle(6, now=True)
    assert await may_use_sites(*ask, 7)
    await late.site_records.settle(7, now=True)
    assert not await may_use_sites(*ask, 7)
    claim = Claim(late.site_records.owner, SiteLimits(), 1, wants=False)
    await late.site_records.change(
        SiteKind.CONNECTIONS,
        "mx.test",
        lambda _: encode("mx.test", [claim]),
        lifetime=timedelta(minutes=1),
    )
    assert await may_use_sites(*ask, 7)
    await late.close()  # a claim ends with its process
    assert not await may_use_sites(*ask, 7)
