"""
Logging in: checks passwords, and slows down those who guess them.

A right password is recognised in microseconds. Any other password is hashed, in two threads of low
priority with a short queue, and one at a time for each network. The more logins of a network have
failed, the longer its refusals are held back. Failed logins are counted in this process and in the
cluster. The cluster also knows which usernames have logged in from a network: these may still log
in when the network is shut out. While the cluster is out of reach, a process uses its own counts.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from postroad.acceptance.counts.shared import SharedCounts
from postroad.acceptance.incoming import AcceptanceTools
from postroad.ingress import metrics, replies
from postroad.ingress.auth.brake import Brake, Guess
from postroad.ingress.auth.neighbours import Neighbours
from postroad.ingress.auth.sasl import Passwords, PasswordsBusy
from postroad.ingress.limits import IngressLimits
from postroad.mail.ip_address import Address
from postroad.policy.model import Client, qualified
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply
from postroad.telemetry.log_limit import network_of


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The reply to a refused login, and how long it is held back."""

    reply: Reply
    delay: timedelta = timedelta()


class Logins:
    """The logins of one process."""

    def __init__(self, passwords: Passwords, tools: AcceptanceTools, limits: IngressLimits) -> None:
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
        """Return the Client whose username and password these are, or the refusal."""
        began = _time()
        guess = Guess.of(network_of(address), _counted_as(snapshot, username))
        outcome = await self._outcome(snapshot, guess, username, password)
        if isinstance(outcome, LoginRefused):
            # Measured from the start: the time for hashing must not show whether a name exists.
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
        Whether a password may be checked only after the guess before it is counted.

        Otherwise a guesser could try many passwords at once, more than the limit allows. Usernames
        that have logged in from this network do not wait for the guesses of others.
        """
        # A lock exists as long as somebody holds it or waits for it.
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
            # It counts as failed: otherwise a guesser who keeps the pool busy could go on for ever.
            outcome, reply = "busy", replies.AUTH_BUSY
        now = datetime.now(UTC)
        delay = self._brake.failed(guess, now)
        # Counted before the next guess of this network, which may be over the limit.
        await self._count_everywhere(guess, now)
        metrics.LOGINS.labels(outcome).inc()
        return LoginRefused(reply, delay)

    async def _is_shut_out(self, guess: Guess) -> bool:
        """Whether a login is refused without checking its password; asks the cluster if needed."""
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
        """Count a failed login for the whole cluster; note which counts are used up."""
        # This costs the client nothing: its reply is held back anyway.
        if not self._shared.may_count():
            return
        for name, count in self._brake.shared(guess, now):
            granted = await self._shared.take(count)
            if granted is None:
                return
            if not granted:
                self._brake.used_up(name, now)


def _counted_as(snapshot: Snapshot, username: str) -> str:
    """Return the one name that guesses are counted under, for whichever form of it was sent."""
    client = snapshot.clients_by_username.get(username)
    if client is None or client.username is None:
        return username
    return qualified(client.key.namespace, client.username)


def _time() -> float:
    return asyncio.get_running_loop().time()
