"""Hosts that lack an extension that a message needs (RFC 6531, RFC 1870): another host may do."""

import ssl
import time
from contextlib import AsyncExitStack

import pytest

from postroad.delivery.routing.routes import MailHost
from postroad.mail.address import parse_mailbox
from postroad.policy.model import TlsMode
from postroad.smtp_client.outages import NetworkPath
from postroad.smtp_client.peer import Timeouts
from postroad.spool.record import QueuedRecipient
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.attempts import Bench, summary
from postroad.testing.queue.queued_mail import now

UTF8 = {
    "smtputf8": True,
    "recipients": (QueuedRecipient(parse_mailbox("pelé@y.example")),),
}
LARGE = {"recipients": (QueuedRecipient(parse_mailbox("b@y.example")),)}
LACKS = pytest.mark.parametrize(
    ("words", "mail", "status"),
    [(("PIPELINING",), UTF8, "5.6.7"), (("SIZE 5", "SMTPUTF8"), LARGE, "5.3.4")],
    ids=["SMTPUTF8", "SIZE"],
)
Mail = dict[str, object]


def busy() -> ScriptedMx:
    return ScriptedMx(lambda line, _: b"451 4.7.1 later\r\n" if line[:4] == b"MAIL" else None)


@LACKS
async def test_the_next_host_gets_what_the_first_cannot_take(
    words: tuple[str, ...], mail: Mail, status: str
) -> None:
    async with ScriptedMx(extensions=words) as lacking, ScriptedMx() as able:
        ended = await Bench().attempt(lacking, able, **mail)
    assert summary(ended) == [("Delivered", "2.0.0", "mx1")]
    assert {line.split()[0] for line in lacking.commands} <= {b"EHLO", b"QUIT"}


@LACKS
async def test_what_no_host_takes_bounces(words: tuple[str, ...], mail: Mail, status: str) -> None:
    async with ScriptedMx(extensions=words) as one, ScriptedMx(extensions=words) as two:
        ended = await Bench().attempt(one, two, **mail)
    assert summary(ended) == [("Bounced", status, "mx1")]
    assert not ended.outcomes[0].answered, "the refusal is ours"


@LACKS
@pytest.mark.parametrize("first", [True, False])
async def test_what_another_host_says_stands_before_what_one_cannot_take(
    words: tuple[str, ...], mail: Mail, status: str, first: bool
) -> None:
    async with ScriptedMx(extensions=words) as lacking, busy() as other:
        hosts = (lacking, other) if first else (other, lacking)
        ended = await Bench().attempt(*hosts, **mail)
    assert summary(ended) == [("Deferred", "4.7.1", f"mx{int(first)}")]


@LACKS
async def test_of_a_host_that_turns_us_away_nobody_knows_what_it_takes(
    words: tuple[str, ...], mail: Mail, status: str
) -> None:
    away = ScriptedMx(greeting=b"421 4.3.2 closed for a while\r\n")
    async with ScriptedMx(extensions=words) as lacking, away:
        ended = await Bench().attempt(lacking, away, **mail)
    assert ended.outcomes[0].kind.value == "Deferred"


@LACKS
@pytest.mark.parametrize("first", [True, False])
async def test_mail_waits_for_a_host_that_is_away_until_its_lifetime_is_over(
    words: tuple[str, ...], mail: Mail, status: str, first: bool
) -> None:
    async with ScriptedMx() as gone:
        port = gone.port
    async with ScriptedMx(extensions=words) as lacking:
        hosts = (lacking, port) if first else (port, lacking)
        ended = await Bench().attempt(*hosts, **mail)
        over = await Bench().attempt(*hosts, deadline=now(), **mail)
    name = f"mx{int(not first)}"
    assert summary(ended) == [("Deferred", f"4{status[1:]}", name)]
    assert "the other hosts could not be asked" in ended.outcomes[0].text
    assert summary(over) == [("Bounced", status, name)]


@LACKS
async def test_mail_waits_for_a_host_that_is_skipped_because_it_was_away(
    words: tuple[str, ...], mail: Mail, status: str
) -> None:
    bench = Bench()
    async with ScriptedMx(extensions=words) as lacking, ScriptedMx() as able:
        bench.context.outages.fails(NetworkPath("127.0.0.1", able.port), time.monotonic())
        ended = await bench.attempt(lacking, able, **mail)
    assert able.connections == 0
    assert summary(ended) == [("Deferred", f"4{status[1:]}", "mx0")]


@LACKS
async def test_mail_waits_for_a_host_that_cannot_be_looked_up_for_now(
    words: tuple[str, ...], mail: Mail, status: str
) -> None:
    async with ScriptedMx(extensions=words) as lacking:
        ended = await Bench(is_partial=True).attempt(lacking, **mail)
        over = await Bench(is_partial=True).attempt(lacking, deadline=now(), **mail)
    assert summary(ended) == [("Deferred", f"4{status[1:]}", "mx0")]
    assert summary(over) == [("Bounced", status, "mx0")]


@LACKS
async def test_mail_waits_for_a_host_whose_session_was_lost(
    words: tuple[str, ...], mail: Mail, status: str
) -> None:
    """Which of the two hosts is named depends on when the loss is seen."""
    lost = ScriptedMx(lambda line, _: HANG_UP if line[:4] == b"MAIL" else None)
    async with ScriptedMx(extensions=words) as lacking, lost:
        ended = await Bench().attempt(lacking, lost, **mail)
    [(kind, said, _)] = summary(ended)
    assert kind == "Deferred"
    assert said in (f"4{status[1:]}", "4.4.2")


async def test_no_other_address_of_a_host_that_cannot_take_it_is_tried() -> None:
    async with ScriptedMx(extensions=()) as one, ScriptedMx() as able:
        beside = ScriptedMx(extensions=(), address="127.0.0.2", at_port=one.port)
        async with beside:
            ended = await Bench().attempt_at(
                MailHost("mx0", one.port, ("127.0.0.1", "127.0.0.2")),
                MailHost("mx1", able.port, ("127.0.0.1",)),
                **UTF8,
            )
    assert summary(ended) == [("Delivered", "2.0.0", "mx1")]
    assert beside.connections == 0


@pytest.mark.parametrize(("lacking", "ends"), [(5, "Delivered"), (6, "Deferred")])
async def test_mail_does_not_bounce_while_there_is_a_host_that_was_not_asked(
    lacking: int, ends: str
) -> None:
    async with AsyncExitStack() as stack:
        hosts = [ScriptedMx(extensions=()) for _ in range(lacking)] + [ScriptedMx()]
        for host in hosts:
            await stack.enter_async_context(host)
        ended = await Bench(timeouts=Timeouts()).attempt(*hosts, **UTF8)
    assert ended.outcomes[0].kind.value == ends


async def test_what_a_host_announces_in_clear_once_tls_failed_is_not_all_it_may_take() -> None:
    useless = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate
    in_doubt = ScriptedMx(tls=useless, extensions=("SIZE 5",))
    async with in_doubt, ScriptedMx(extensions=("SIZE 5",)) as lacking:
        ended = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(in_doubt, lacking, **LARGE)
    assert summary(ended) == [("Deferred", "4.3.4", "mx0")]
