"""The table of dispositions: as documented, and as played with real peers."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from postroad.delivery.routing.routes import MailHost
from postroad.mail.address import parse_mailbox
from postroad.policy.model import Credentials, TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.dispositions import Answer, Protection, Step, step
from postroad.smtp_client.peer import Timeouts
from postroad.spool.record import QueuedRecipient
from postroad.testing.patience import patient
from postroad.testing.peers.certificates import Vouched
from postroad.testing.peers.mx import BREAK_TLS, HANG_UP, SILENCE, ScriptedMx
from postroad.testing.processes.attempts import Bench

PAGE = Path(__file__).parents[2] / "docs" / "dispositions.md"
UNTABLED = (Phase.RSET, Phase.QUIT)  # nothing depends on how they end
PHASES = [phase for phase in Phase if phase not in UNTABLED]
CASES = list(product(PHASES, Answer, Protection))

# ---------------------------------------------------------------- as documented


def documented() -> list[tuple[list[str], list[str], str, str]]:
    """Return the lines of the table: phases, answers, protection, step."""
    table = PAGE.read_text().partition("## In a session")[2]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    return [(p.split(", "), a.split(", "), t, s) for p, a, t, s in rows[2:]]


def test_the_page_has_only_words_that_there_are() -> None:
    for phases, answers, protection, found in documented():
        assert phases == ["any"] or set(phases) <= {str(phase) for phase in PHASES}
        assert answers == ["any"] or set(answers) <= set(Answer)
        assert protection == "any" or protection in set(Protection)
        assert found in set(Step)


def test_every_case_has_the_step_that_is_documented() -> None:
    rows = documented()
    for phase, answer, protection in CASES:
        said = next(
            found
            for phases, answers, state, found in rows
            if (phases == ["any"] or str(phase) in phases)
            and (answers == ["any"] or answer in answers)
            and state in ("any", protection)
        )
        assert step(phase, answer, protection) == said, (phase, answer, protection)


@pytest.mark.parametrize("phase", PHASES)
def test_only_what_is_said_of_the_mail_bounces_it(phase: Phase) -> None:
    for answer, protection in product(Answer, Protection):
        if step(phase, answer, protection) is Step.BOUNCE:
            assert answer in (Answer.REFUSED, Answer.FINAL)
            assert phase in (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT, Phase.FINAL_DOT)


# ---------------------------------------------------------------- as lived through

VERBS = {
    Phase.EHLO: b"EHLO",
    Phase.STARTTLS: b"STARTTLS",
    Phase.AUTH: b"AUTH",
    Phase.MAIL: b"MAIL",
    Phase.RCPT: b"RCPT",
    Phase.DATA: b"DATA",
    Phase.FINAL_DOT: b".",
}
SAID = {
    Answer.CLOSING: b"421 4.3.2 bye\r\n",
    Answer.TOO_MANY: b"452 4.5.3 too many recipients\r\n",
    Answer.TEMPORARY: b"451 4.3.0 not now\r\n",
    Answer.MISPLACED: b"503 5.5.1 bad sequence of commands\r\n",
    Answer.WANTS_TLS: b"530 5.7.0 Must issue a STARTTLS command first\r\n",
    Answer.REFUSED: b"554 5.7.1 not from you\r\n",
    Answer.FINAL: b"550 5.1.1 no such user\r\n",
    Answer.LACKING: b"250-mx.test\r\n250 SIZE 5\r\n",  # to EHLO
    Answer.GARBLED: b"\x16\x03\x01\r\n",
    Answer.CLOSED: HANG_UP,
    Answer.SILENT: SILENCE,
    Answer.TLS_FAULT: BREAK_TLS,
}
STATES = {
    Protection.CLEAR: TlsMode.NONE,
    Protection.FAILED: TlsMode.OPPORTUNISTIC,
    Protection.OPPORTUNISTIC: TlsMode.OPPORTUNISTIC,
    Protection.REQUIRED: TlsMode.REQUIRED,
    Protection.VERIFIED: TlsMode.VERIFIED,
}
IN_CLEAR = (Protection.CLEAR, Protection.FAILED)
NO_TLS = b"454 4.7.0 no TLS now\r\n"
LOGIN = Credentials("user", "secret")


def timeouts_for(answer: Answer) -> Timeouts:
    """Return times that are short where a peer will say nothing, and only there."""
    if answer is not Answer.SILENT:
        return Timeouts()
    short = timedelta(seconds=patient(0.3))
    return Timeouts(command=short, data=short, final_dot=short)


@dataclass
class Case:
    """A host that fails once in one way, and what else there is to try."""

    phase: Phase
    answer: Answer
    protection: Protection
    failed: bool = field(default=False, init=False)

    @property
    def octets(self) -> bytes:
        if self.answer is Answer.ODD:
            return b"250 2.0.0 ok\r\n" if self.phase is Phase.DATA else b"354 go on\r\n"
        if self.answer is Answer.FINAL and self.phase is Phase.DATA:
            return b"554 5.6.0 not this content\r\n"  # of an address it were an RCPT's, come late
        return SAID[self.answer]

    def script(self, line: bytes, count: int) -> bytes | None:
        verb = line.split()[0]
        if self.protection is Protection.FAILED and verb == b"STARTTLS":
            return NO_TLS
        said_to = Phase.EHLO if self.answer is Answer.LACKING else self.phase
        # EHLO is said once more under TLS, or in the session after TLS has failed.
        which = int(said_to is Phase.EHLO and self.protection is not Protection.CLEAR)
        # The first recipient is taken, so that there is something to go on with.
        which = int(said_to is Phase.RCPT) or which
        if self.failed or verb != VERBS[said_to] or count != which:
            return None
        self.failed = True
        return self.octets


def playable(phase: Phase, answer: Answer, protection: Protection) -> bool:
    if phase not in VERBS:
        return False
    if answer is Answer.TLS_FAULT and (protection in IN_CLEAR or phase is Phase.STARTTLS):
        return False
    if answer is Answer.LACKING:
        return phase is Phase.MAIL
    if answer is Answer.TOO_MANY:
        return phase is Phase.RCPT  # elsewhere it is a 4yz like others
    if phase is Phase.STARTTLS:
        return protection not in IN_CLEAR
    if phase is Phase.AUTH:
        # A session that is to log in never falls back, and checks the certificate.
        return protection in (Protection.CLEAR, Protection.VERIFIED)
    return True


PLAYED = [case for case in CASES if playable(*case)]


def ids(case: tuple[Phase, Answer, Protection]) -> str:
    return "-".join(map(str, case))


@pytest.mark.parametrize("case", PLAYED, ids=ids)
async def test_what_is_tried_next_is_tried(
    case: tuple[Phase, Answer, Protection], vouched: Vouched
) -> None:
    play = Case(*case)
    more: dict[str, object] = {"extensions": ("PIPELINING", "AUTH PLAIN")}
    if play.protection is not Protection.CLEAR:
        more["tls"] = vouched.context
    bench = Bench(
        timeouts=timeouts_for(play.answer),
        tls=STATES[play.protection],
        login=LOGIN if play.phase is Phase.AUTH else None,
        ca_file=vouched.ca_file,
    )
    async with ScriptedMx(play.script, **more) as mx, ScriptedMx(**more) as other:  # type: ignore[arg-type]
        # An address of its own for each port: nobody else can have taken it.
        second = f"127.77.{mx.port >> 8}.{mx.port & 255}"
        beside = ScriptedMx(address=second, at_port=mx.port, **more)  # type: ignore[arg-type]
        async with beside:
            ended = await bench.attempt_at(
                MailHost("mx.test", mx.port, ("127.0.0.1", second)),
                MailHost("mx.test", other.port, ("127.0.0.1",)),
            )
    assert play.failed, "it was played"
    expected = step(*case)
    final = {Step.BOUNCE: "Bounced", Step.LATER: "Deferred"}.get(expected)
    ends = [ended.outcomes[number].kind.value for number in range(2)]
    assert ends[1] == (final or "Delivered")
    assert ends[0] == (final if final and play.phase is not Phase.RCPT else "Delivered")
    assert tried(play, mx, beside, other) == (None if final else expected)


def tried(play: Case, mx: ScriptedMx, beside: ScriptedMx, other: ScriptedMx) -> Step | None:
    """Return what was tried next, by who got the mail and how."""
    if other.messages:
        return Step.NEXT_HOST
    if beside.messages:
        return Step.NEXT_ADDRESS
    if b"HELO relay.test" in mx.commands:
        return Step.HELO
    if mx.connections > (2 if play.protection is Protection.FAILED else 1):
        was_protected = play.protection not in IN_CLEAR
        return Step.IN_CLEAR if was_protected and not mx.messages[-1].tls else Step.PLAINLY
    return Step.NEXT_TRANSACTION if len(mx.messages) > 1 else None


# ---------------------------------------------------------------- whatever peers say

REPLIES = [
    *(octets for answer, octets in SAID.items() if answer is not Answer.SILENT),
    b"250 2.0.0 ok\r\n",
    b"354 go on\r\n",
    b"250ok\r\n",
    b"250-more\r\n550 5.1.1 no\r\n",
    b"*** hello ***\r\n250 ok\r\n",
    b"250 ok\r\n250 ok\r\n",
    b"552 5.2.2 full\r\n",
]
TWELVE = tuple(QueuedRecipient(parse_mailbox(f"r{n}@y.example")) for n in range(12))


@pytest.mark.parametrize("seed", range(60))
async def test_every_recipient_has_one_outcome_after_a_bounded_number_of_tries(
    seed: int, vouched: Vouched
) -> None:
    dice = random.Random(seed)
    oddness = dice.choice([0.05, 0.2, 0.5])

    def script(line: bytes, count: int) -> bytes | None:
        return dice.choice(REPLIES) if dice.random() < oddness else None

    words = ("PIPELINING",) if dice.random() < 0.7 else ()
    tls = dice.choice([TlsMode.NONE, TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED])
    times = Timeouts(*([timedelta(seconds=patient(0.3))] * 7))
    bench = Bench(timeouts=times, tls=tls, ca_file=vouched.ca_file, long_enough=timedelta(hours=1))
    odd = [ScriptedMx(script, extensions=words, tls=vouched.context) for _ in range(3)]
    async with odd[0] as one, odd[1] as two, odd[2] as three:
        for _ in range(4):
            async with asyncio.timeout(patient(60)):
                ended = await bench.attempt(one, two, three, recipients=TWELVE)
            assert sorted(ended.outcomes) == list(range(12))
        commands = sum(len(mx.commands) for mx in odd)
        await bench.pool.close()
    assert commands < 4 * 6 * 4 * 40, "tries, sessions in each, commands in each"
