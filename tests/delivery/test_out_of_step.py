"""Peers that lose or misread pipelined commands: their later replies do not count for the mail."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from postroad.delivery.attempt import turn
from postroad.delivery.routing.routes import MailHost
from postroad.policy.model import TlsMode
from postroad.testing.peers.mx import HANG_UP, Script, ScriptedMx
from postroad.testing.processes.attempts import TO, Bench, summary
from postroad.testing.streams import hang_up

OUT_OF_STEP = b"503 5.5.1 need MAIL before RCPT\r\n"


@dataclass
class Dropping:
    """A server that loses the first line of a group; `which` groups, counted in all sessions."""

    which: frozenset[int]
    groups: int = 0
    connections: int = 0
    messages: int = 0
    _mail: bool = field(default=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 mx.test\r\n")
        while block := await reader.read(65536):
            lines = block.split(b"\r\n")[:-1]
            if len(lines) > 1 and b"." not in lines:
                lines = lines[1:] if self.groups in self.which else lines
                self.groups += 1
            writer.write(b"".join(map(self._answer, lines)))
        await hang_up(writer)

    def _answer(self, line: bytes) -> bytes:
        verb = line.partition(b" ")[0]
        if verb == b"EHLO":
            self._mail = False
            return b"250-mx.test\r\n250 PIPELINING\r\n"
        if verb in (b"RCPT", b"DATA") and not self._mail:
            return OUT_OF_STEP
        self._mail |= verb == b"MAIL"
        self.messages += verb == b"."
        known = (b"MAIL", b"RCPT", b"DATA", b".", b"RSET", b"QUIT")
        reply = b"354 go on\r\n" if verb == b"DATA" else b"250 2.0.0 ok\r\n"
        return reply if verb in known else b""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MailHost]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            yield MailHost("mx0", server.sockets[0].getsockname()[1], ("127.0.0.1",))


async def test_a_lost_line_leads_to_sessions_without_pipelining_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Dropping(frozenset({0, 1}))
    bench = Bench()
    async with server.open() as host:
        assert summary(await bench.attempt_at(host)) == [("Delivered", "2.0.0", "mx0")] * 2
        assert (server.connections, server.messages, server.groups) == (2, 1, 1)
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + 5 * 3600)
        monkeypatch.setattr(turn, "time", later)
        await bench.attempt_at(host)
        assert (server.messages, server.groups) == (2, 1), "it is not asked that way again"
        await bench.pool.close()


def saying(verb: bytes, reply: bytes) -> Script:
    return lambda line, count: reply if line.split()[0] == verb else None


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA", b"."])
@pytest.mark.parametrize("reply", [OUT_OF_STEP, b"503 bad sequence\r\n", b"554 5.5.1 what?\r\n"])
async def test_what_says_nothing_of_the_mail_bounces_nothing(verb: bytes, reply: bytes) -> None:
    async with ScriptedMx(saying(verb, reply)) as mx, ScriptedMx() as good:
        ended = await Bench().attempt(mx)
        assert {outcome.kind.value for outcome in ended.outcomes.values()} == {"Deferred"}
        assert mx.connections == 2, "once pipelined, once plainly"
        assert summary(await Bench().attempt(mx, good)) == [("Delivered", "2.0.0", "mx1")] * 2


async def test_refusals_of_a_session_out_of_step_do_not_count() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"RCPT") and count == 0:
            return b"550 5.1.1 no such user\r\n"
        return OUT_OF_STEP if line == b"DATA" and count == 0 else None

    async with ScriptedMx(script) as mx:
        assert summary(await Bench().attempt(mx)) == [("Delivered", "2.0.0", "mx0")] * 2


async def test_refusals_of_a_session_that_falls_out_of_step_a_command_at_a_time_do_not_count() -> (
    None
):
    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"RCPT") and count == 1:
            return b"550 5.1.1 no such user\r\n"
        return b"250 2.0.0 ok\r\n" if line == b"DATA" and count == 0 else None

    async with ScriptedMx(script, extensions=()) as mx, ScriptedMx() as good:
        assert summary(await Bench().attempt(mx, good)) == [("Delivered", "2.0.0", "mx1")] * 2


# ---------------------------------------------------------------- degraded by missing TLS

WANTS_TLS = b"530 5.7.0 Must issue a STARTTLS command first\r\n"


def without_tls(verb: bytes, reply: bytes) -> Script:
    said = {b"STARTTLS": b"454 4.7.0 TLS not available\r\n", verb: reply}
    return lambda line, count: said.get(line.split()[0])


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT", b"DATA", b"."])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (WANTS_TLS, "Deferred"),
        (b"554 5.7.1 encryption needed\r\n", "Deferred"),
        (b"550 not like this\r\n", "Deferred"),
        (b"550 5.1.1 no such user\r\n", "Bounced"),
    ],
)
async def test_a_refusal_in_clear_after_tls_failed_is_no_verdict(
    mx_tls: ssl.SSLContext, verb: bytes, reply: bytes, kind: str
) -> None:
    async with ScriptedMx(without_tls(verb, reply), tls=mx_tls) as mx:
        ended = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(mx)
        assert {outcome.kind.value for outcome in ended.outcomes.values()} == {kind}
        assert ended.outcomes[0].text == reply.decode().strip()


async def test_a_host_that_wants_tls_and_does_not_offer_it_bounces_nothing() -> None:
    async with ScriptedMx(saying(b"MAIL", WANTS_TLS)) as mx:
        ended = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(mx)
        assert {str(outcome.status) for outcome in ended.outcomes.values()} == {"4.7.0"}


async def test_what_a_host_does_not_take_without_tls_it_may_take_with() -> None:
    """What it announces in clear may be less than what it announces under TLS."""
    useless = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate
    small, good = ScriptedMx(tls=useless, extensions=("SIZE 5",)), ScriptedMx()
    async with small, good:
        alone = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(small)
        assert {outcome.kind.value for outcome in alone.outcomes.values()} == {"Deferred"}
        both = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(small, good)
        assert summary(both) == [("Delivered", "2.0.0", "mx1")] * 2


async def test_a_host_that_hangs_up_in_the_middle_is_no_reason_to_go_on_in_clear(
    mx_tls: ssl.SSLContext,
) -> None:
    async with ScriptedMx(saying(b"MAIL", HANG_UP), tls=mx_tls) as mx:
        ended = await Bench(tls=TlsMode.OPPORTUNISTIC).attempt(mx)
        assert {outcome.kind.value for outcome in ended.outcomes.values()} == {"Deferred"}
        assert mx.connections == 1
        assert mx.messages == []


@dataclass
class Late:
    """A server that is one answer behind in its first session, and knows no `c@y.example`."""

    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        behind = self.connections == 1
        writer.write(b"220 mx.test\r\n")
        owed: list[bytes] = []
        while block := await reader.read(65536):
            for line in block.split(b"\r\n")[:-1]:
                owed += self._answer(line)
                if line.startswith(b"EHLO") and behind:
                    owed.append(b"250 welcome\r\n")
            now = len(owed) - behind
            writer.write(b"".join(owed[:now]))
            del owed[:now]
        await hang_up(writer)

    def _answer(self, line: bytes) -> list[bytes]:
        if line.startswith(b"EHLO"):
            return [b"250-mx.test\r\n250 PIPELINING\r\n"]
        if line.startswith(b"RCPT") and TO[-1].encode() in line:
            return [b"550 5.1.1 no such user\r\n"]
        known = line.split(b" ")[0] in (b"MAIL", b"RCPT", b".", b"RSET", b"QUIT")
        return [b"354 go on\r\n"] if line == b"DATA" else [b"250 2.0.0 ok\r\n"] * known


async def test_the_refusal_of_one_recipient_is_not_taken_for_that_of_the_message() -> None:
    server = Late()
    bench = Bench()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        host = MailHost("mx0", listening.sockets[0].getsockname()[1], ("127.0.0.1",))
        ended = summary(await bench.attempt_at(host))
        await bench.pool.close()
    assert ended == [("Delivered", "2.0.0", "mx0"), ("Bounced", "5.1.1", "mx0")]
    assert server.connections == 2


@pytest.mark.parametrize("reply", [b"550 one message for each session", b"451 4.5.0 one at a time"])
async def test_a_host_that_takes_one_message_for_each_session_gets_the_next_in_another(
    reply: bytes,
) -> None:
    served: set[int] = set()

    def script(line: bytes, count: int) -> bytes | None:
        if not line.startswith(b"MAIL"):
            return None
        if mx.connections in served:
            return reply + b"\r\n"
        served.add(mx.connections)
        return None

    bench = Bench()
    async with ScriptedMx(script) as mx:
        for _ in range(3):
            ended = summary(await bench.attempt(mx))
            assert {outcome for outcome, _, _ in ended} == {"Delivered"}
        await bench.pool.close()
    assert mx.connections == 3


@pytest.mark.parametrize("reply", [b"450 too fast", b"451 4.7.1 too fast"])
async def test_a_host_that_wants_mail_later_gets_no_other_session_for_it(reply: bytes) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return reply + b"\r\n" if line.startswith(b"MAIL") and count else None

    bench = Bench()
    async with ScriptedMx(script) as mx:
        for expected in ("Delivered", "Deferred"):
            ended = summary(await bench.attempt(mx))
            assert {outcome for outcome, _, _ in ended} == {expected}
        await bench.pool.close()
    assert mx.connections == 1
