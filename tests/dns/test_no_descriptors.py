"""A question that is not sent, for want of a file descriptor, says nothing about the DNS."""

from structlog.testing import capture_logs

from postroad.dns.answers import DnsFailure
from postroad.dns.resolver import Resolver
from postroad.process import descriptors
from postroad.testing.descriptors import no_descriptors
from postroad.testing.peers.dns_server import Zone
from postroad_harness.setups.dns import TABLE, Clock


async def test_what_could_not_be_asked_is_asked_as_soon_as_it_can_be(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("empty.example")  # dnspython loads a part of itself at the first question
        with no_descriptors():
            for _ in range(20):  # enough silence for a DNS that is away
                answer = await resolver.mx("x.example")
                assert answer.trouble is DnsFailure.UNASKED
                assert "this machine has no file descriptors left" in answer.detail
                clock.now += 5
        assert not resolver.is_slow("x.example")
        clock.now += 5
        assert len((await resolver.mx("x.example")).records) == 2


async def test_it_is_logged_once_with_what_helps(clock: Clock) -> None:
    descriptors.LACKS.__init__()  # type: ignore[misc]
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("empty.example")  # dnspython loads a part of itself at the first question
        with no_descriptors(), capture_logs() as logs:
            for number in range(20):
                await resolver.mx(f"d{number}.example")
    [line] = [line for line in logs if "no file descriptors are left" in line["event"]]
    assert "ulimit -Hn" in line["event"]
    assert "Too many open files" in line["error"]
