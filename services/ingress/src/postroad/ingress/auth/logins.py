"""
Logging in: passwords proven, guesses braked.

Right logins are cheap and wrong ones are not. A right password is recognised in microseconds; what
is not recognised is hashed, in two threads of low priority with a short queue, one guess of a
network at a time, and its refusal is held back the longer the more guesses failed. What failed is
counted here and for the whole cluster, and so are the names that log in from a network, which stay
let in when it is shut out. While the cluster is out of reach each process brakes by its own.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from postroad.ingress import metrics, replies
from postroad.ingress.acceptance.intake import IntakeContext
from postroad.ingress.admission import Address
from postroad.ingress.auth.brake import Brake, Guess
from postroad.ingress.auth.neighbours import Neighbours
from postroad.ingress.auth.sasl import Passwords, PasswordsBusy
from postroad.ingress.counts.shared import SharedCounts
from postroad.policy.model import Client
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.telemetry.log_limit import network_of


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The reply to a login that was not taken, and how long it is held back."""

    reply: Reply
    delay: timedelta = timedelta()


class Logins:
    """The logins of one process."""

    def __init__(self, passwords: Passwords, tools: IntakeContext) -> None:
        limits = tools.limits
        self._passwords = passwords
        self._shared = SharedCounts(
            tools.spool.usage, tools.lines, "failed logins are counted by this process alone"
        )
        self._neighbours = Neighbours(tools.spool.past_logins, tools.lines)
        self._brake = Brake(
            per_network=limits.failed_logins, per_name=limits.failed_logins_per_name
        )
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def log_in(
        self, snapshot: Snapshot, address: Address, username: str, password: str
    ) -> Client | LoginRefused:
        """Return the Client that a name and a password prove, or what is said instead."""
        began = _time()
        guess = Guess.of(network_of(address), username)
        outcome = await self._outcome(snapshot, guess, username, password)
        if isinstance(outcome, LoginRefused):
            # From the first on: how long the hashing took tells nobody whether the name exists.
            left = outcome.delay - timedelta(seconds=_time() - began)
            return replace(outcome, delay=max(left, timedelta()))
        self._brake.remember(guess)
        self._neighbours.note(guess.pair)
        metrics.LOGINS.labels("succeeded").inc()
        return outcome

    async def _outcome(
        self, snapshot: Snapshot, guess: Guess, username: str, password: str
    ) -> Client | LoginRefused:
        if await self._is_shut_out(guess):
            return self._shut_out()
        if not self._must_wait(guess):
            client = self._passwords.recognised(snapshot, username, password)
            if client is not None:
                return client
        async with self._turn(guess.pair), self._turn(guess.network):
            if await self._is_shut_out(guess):
                return self._shut_out()
            client = self._passwords.recognised(snapshot, username, password)
            return client or await self._proven(snapshot, guess, username, password)

    def _must_wait(self, guess: Guess) -> bool:
        """
        Whether a password may be looked at only when the guess before it is counted.

        Else a right one among many at once would be let in, however many are allowed. What others
        guess does not keep those waiting who are known to log in from there.
        """
        # A turn is there as long as somebody has it or waits for it.
        if guess.pair in self._turns:
            return True
        return not self._brake.is_at_home(guess) and guess.network in self._turns

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def _proven(
        self, snapshot: Snapshot, guess: Guess, username: str, password: str
    ) -> Client | LoginRefused:
        outcome = "failed"
        # The Client may be the object that cannot be read here.
        reply = replies.AUTH_LATER if snapshot.stale else replies.AUTH_FAILED
        try:
            client = await self._passwords.prove(snapshot, username, password)
            if client is not None:
                return client
        except PasswordsBusy:
            # It was not recognised, so it counts: else who fills the pool may guess for ever.
            outcome, reply = "busy", replies.AUTH_BUSY
        now = datetime.now(UTC)
        delay = self._brake.failed(guess, now)
        # Before the next guess of this network: it may be one too many.
        await self._count_everywhere(guess, now)
        metrics.LOGINS.labels(outcome).inc()
        return LoginRefused(reply, delay)

    async def _is_shut_out(self, guess: Guess) -> bool:
        """Whether a login is refused without a look at its password, as the cluster knows it."""
        now = datetime.now(UTC)
        if not self._brake.shuts_out(guess, now):
            return False
        if not self._brake.depends_on_home(guess, now):
            return True
        if not await self._neighbours.has(guess.pair):
            return True
        self._brake.remember(guess)
        return False

    def _shut_out(self) -> LoginRefused:
        metrics.LOGINS.labels("shut_out").inc()
        return LoginRefused(replies.AUTH_SHUT_OUT, self._brake.pause)

    async def _count_everywhere(self, guess: Guess, now: datetime) -> None:
        """Take a failed login from what the whole cluster allows; note what is used up there."""
        # While the reply is held back anyway.
        if not self._shared.may_count():
            return
        for name, count in self._brake.shared(guess, now):
            granted = await self._shared.take(count)
            if granted is None:
                return
            if not granted:
                self._brake.used_up(name, now)


def _time() -> float:
    return asyncio.get_running_loop().time()
