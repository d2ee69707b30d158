"""Which sites pools share, by the configurations as they come."""

from datetime import timedelta

from postroad.delivery.sharing.meetings import LONGEST_CLAIM, Meeting, Pools
from postroad.policy.model import EgressPath, Smarthost

LATER = LONGEST_CLAIM + timedelta(seconds=1)
SMART = (Smarthost("mx.example", 25),)


def heed(pools: Pools, generation: int, now: float = 0.0, **paths: str) -> bool:
    """Heed a configuration of Relays by MX, in these pools."""
    egress_paths = [EgressPath(name, pool=pool) for name, pool in paths.items()]
    return pools.heed(egress_paths, generation, now, unsure=False)


def test_pools_meet_from_the_configuration_on_that_names_several() -> None:
    pools = Pools()
    assert not heed(pools, 1, a="default", b="default")
    assert pools.meeting("a", by_mx=True) is None
    assert heed(pools, 2, a="default", b="bulk")
    assert pools.meeting("a", by_mx=True) == Meeting(2, ends=False)
    assert not heed(pools, 3, a="default", b="bulk")
    assert pools.meeting("a", by_mx=True) == Meeting(2, ends=False)


def test_a_meeting_ends_a_while_after_only_one_pool_is_named() -> None:
    pools = Pools()
    heed(pools, 1, a="default", b="bulk")
    assert heed(pools, 2, a="bulk", b="bulk")
    meeting = pools.meeting("a", by_mx=True)
    assert meeting is not None
    assert (meeting.since, meeting.ends) == (2, True)
    pools.forget(LATER.total_seconds())
    assert pools.meeting("a", by_mx=True) is None


def test_smarthosts_meet_their_former_pool_alone() -> None:
    pools = Pools()
    for generation, pool in enumerate(("default", "bulk"), 1):
        paths = [EgressPath("a", SMART, pool=pool), EgressPath("b", SMART, pool="default")]
        assert pools.heed(paths, generation, 0.0, unsure=False) is (pool == "bulk")
    assert pools.meeting("a", by_mx=False) is not None
    assert pools.meeting("b", by_mx=False) is None


def test_what_others_settle_counts_also_where_generations_begin_anew() -> None:
    """After a restore they would never come to the generation that all wait for."""
    pools = Pools()
    heed(pools, 500, a="default", b="bulk")
    assert heed(pools, 1, a="default", b="bulk")
    assert pools.meeting("a", by_mx=True) == Meeting(1, ends=False)


def test_smarthosts_that_change_while_a_process_is_new_meet_anew() -> None:
    """Others may have connections to the new ones, by a configuration before its first one."""
    pools = Pools()
    pools.heed([EgressPath("a", SMART, pool="bulk")], 1, 0.0, unsure=False)
    pools.arrive(1, 0.0)
    other = (Smarthost("other.example", 25),)
    assert pools.heed([EgressPath("a", other, pool="bulk")], 2, 1.0, unsure=False)
    meeting = pools.meeting("a", by_mx=False)
    assert meeting is not None
    assert meeting.since == 2
