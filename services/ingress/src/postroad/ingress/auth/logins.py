"""
Logging in: passwords proven, guesses braked.

Right logins are cheap and wrong ones are not. A right password is recognised in microseconds; what
is not recognised is hashed, in two threads of low priority with a short queue, one guess of a
network at a time, and its refusal is held back the longer the more guesses failed. What failed is
counted here and for the whole cluster. While the cluster's counts are out of reach each process
brakes by its own.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from postroad.ingress import metrics, replies
from postroad.ingress.acceptance.intake import IntakeContext
from postroad.ingress.admission import Address
from postroad.ingress.auth.brake import Brake, Guess
from postroad.ingress.auth.sasl import Passwords, PasswordsBusy
from postroad.ingress.counts.shared import SharedCounts
from postroad.policy.model import Client, Snapshot
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
        if self._brake.shuts_out(guess, datetime.now(UTC)):
            return self._shut_out()
        client = self._passwords.recognised(snapshot, username, password)
        if client is None:
            proven = await self._proven(snapshot, guess, username, password)
            if isinstance(proven, LoginRefused):
                # From the first on: how long the hashing took tells nobody whether the name exists.
                left = proven.delay - timedelta(seconds=_time() - began)
                return replace(proven, delay=max(left, timedelta()))
            client = proven
        self._brake.succeeded(guess)
        metrics.LOGINS.labels("succeeded").inc()
        return client

    async def _proven(
        self, snapshot: Snapshot, guess: Guess, username: str, password: str
    ) -> Client | LoginRefused:
        turn = self._turns.setdefault(guess.network, asyncio.Lock())
        async with turn:
            if self._brake.shuts_out(guess, datetime.now(UTC)):
                return self._shut_out()
            try:
                client = await self._passwords.prove(snapshot, username, password)
            except PasswordsBusy:
                metrics.LOGINS.labels("busy").inc()
                return LoginRefused(replies.AUTH_BUSY)
            if client is not None:
                return client
            now = datetime.now(UTC)
            delay = self._brake.failed(guess, now)
            # Before the next guess of this network: it may be one too many.
            await self._count_everywhere(guess, now)
        metrics.LOGINS.labels("failed").inc()
        # The Client may be the object that cannot be read here.
        reply = replies.AUTH_LATER if snapshot.stale else replies.AUTH_FAILED
        return LoginRefused(reply, delay)

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
