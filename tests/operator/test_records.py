"""DNS look-ups of records, against a small DNS server on loopback."""

import asyncio
from pathlib import Path

from postroad.manifests.compiler.claims import ClaimKey
from postroad.operator.probes.dns import DnsProbe, dmarc_names
from postroad.operator.status.dns_facts import DnsAnswer
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone, ZoneFault
from postroad.units.addresses import SocketAddress

TABLE: Table = {
    "shop.example": ["MX 10 Mail.Relay.example.", 'TXT "v=spf1 " "mx -all"'],
    "_dmarc.shop.example": ['TXT "v=DMARC1; p=none"'],
    "_postroad.shop.example": ['TXT "relay=mail.relay.example; namespace=shop"'],
    "_dmarc.example.org": ['TXT "v=DMARC1; p=reject"'],
    "sub.example.org": ["MX 10 mail.relay.example."],
    "broken.example": ZoneFault.SERVFAIL,
    "_dmarc.broken.example": ZoneFault.SERVFAIL,
    "_postroad.broken.example": ZoneFault.SERVFAIL,
}


async def test_answers_are_read_as_they_are() -> None:
    async with Zone(TABLE) as zone:
        looks = DnsProbe(lambda: (), lambda: None, SocketAddress(*zone.address))
        found = await looks.look_up("shop.example")
        assert found.mx == DnsAnswer(("mail.relay.example",))
        assert found.txt == DnsAnswer(("v=spf1 mx -all",))
        assert found.dmarc == DnsAnswer(("v=DMARC1; p=none",))
        assert found.proof == DnsAnswer(("relay=mail.relay.example; namespace=shop",))

        above = await looks.look_up("sub.example.org")
        assert above.dmarc == DnsAnswer(("v=DMARC1; p=reject",))
        assert above.txt == DnsAnswer()

        broken = await looks.look_up("broken.example")
        assert all(answer.trouble for answer in (broken.mx, broken.txt, broken.proof))
        assert broken.dmarc.trouble


async def test_the_system_s_name_server_may_be_told_after_the_start(tmp_path: Path) -> None:
    async with Zone(TABLE) as zone:
        conf = ResolvConf(tmp_path / "resolv.conf", port=zone.address[1])
        looks = DnsProbe(lambda: (), lambda: None, conf)
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        assert (await looks.look_up("shop.example")).mx == DnsAnswer(("mail.relay.example",))


async def test_every_domain_has_its_turn_and_is_forgotten_when_it_is_gone() -> None:
    async with Zone(TABLE) as zone:
        claims = {ClaimKey("shop", "shop.example"), ClaimKey("org", "sub.example.org")}
        changed = asyncio.Event()
        looks = DnsProbe(lambda: claims, changed.set, SocketAddress(*zone.address))
        running = asyncio.create_task(looks.run())
        async with asyncio.timeout(patient(10)):
            await changed.wait()
            assert looks.facts.keys() == {"shop.example", "sub.example.org"}
            claims.remove(ClaimKey("shop", "shop.example"))
            while "shop.example" in looks.facts:
                await asyncio.sleep(0.05)
        running.cancel()


async def test_a_new_claim_to_a_known_domain_is_looked_up_soon() -> None:
    """The name's new owner publishes the proof, while the former one still has a Domain."""
    table = {name: records for name, records in TABLE.items() if name != "_postroad.shop.example"}
    async with Zone(table) as zone:
        claims = {ClaimKey("squatter", "shop.example")}
        changed = asyncio.Event()
        looks = DnsProbe(lambda: claims, changed.set, SocketAddress(*zone.address))
        running = asyncio.create_task(looks.run())
        async with asyncio.timeout(patient(10)):
            await changed.wait()
            assert looks.facts["shop.example"].proof == DnsAnswer()
            changed.clear()
            zone.table["_postroad.shop.example"] = TABLE["_postroad.shop.example"]
            claims.add(ClaimKey("shop", "shop.example"))
            await changed.wait()
        assert looks.facts["shop.example"].proof.values
        running.cancel()


async def test_a_zone_that_answers_late_holds_up_no_look_up_of_others() -> None:
    """Its owner may have many Domains, and names with a hundred labels: one is asked for each."""
    slow = [f"{number}.slow.example" for number in range(40)]
    async with Zone(TABLE) as zone:
        for name in slow:
            zone.late[name, "MX"] = 60.0
        claims = {ClaimKey("slow", name): None for name in slow}
        claims[ClaimKey("shop", "shop.example")] = None
        looks = DnsProbe(lambda: claims.keys(), lambda: None, SocketAddress(*zone.address))
        running = asyncio.create_task(looks.run())
        async with asyncio.timeout(patient(10)):  # the others take 8 s each, and there are 40
            while "shop.example" not in looks.facts:
                await asyncio.sleep(0.05)
        running.cancel()


def test_a_dmarc_record_is_looked_for_at_seven_names_at_most() -> None:
    """RFC 9989 §4.10 has eight at most. The zone's owner decides how long each answer takes."""
    long = ".".join(["a"] * 100)
    assert dmarc_names("shop.example") == ["_dmarc.shop.example"]
    assert dmarc_names("a.b.shop.example") == [
        *("_dmarc.a.b.shop.example", "_dmarc.b.shop.example", "_dmarc.shop.example"),
    ]
    assert dmarc_names(long) == [
        f"_dmarc.{long}",
        *("_dmarc." + ".".join(["a"] * count) for count in (7, 6, 5, 4, 3, 2)),
    ]


async def test_dmarc_records_that_come_late_one_after_another_count_as_none() -> None:
    """Takes 8 s, the time that a record has to come."""
    name = "a.b.c.d.slow.example"
    async with Zone(TABLE) as zone:
        for each in dmarc_names(name):
            zone.late[each, "TXT"] = 1.9
        looks = DnsProbe(lambda: (), lambda: None, SocketAddress(*zone.address))
        async with asyncio.timeout(patient(12)):
            found = await looks.look_up(name)
        assert found.dmarc.trouble
        assert not found.mx.trouble
