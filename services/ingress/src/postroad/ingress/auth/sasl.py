"""
Checking a password: SASL PLAIN (RFC 4616) and LOGIN against SCRAM verifiers.

A right password is recognised without hashing: the salt of its verifier is a digest of the password
under the cluster's key, which this process has. Any other password is hashed, with as many
iterations as the verifier says. A small pool of threads does that, with low priority and a bounded
queue, so that guesses do not slow down mail. An unknown username takes as long as a wrong password.

Some passwords are right although they are not recognised: another spelling of the password, or a
verifier whose salt was made elsewhere. They are remembered under an HMAC with a key that only this
process has. The number of these entries is bounded. When a verifier changes, its entries no longer
match.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from postroad.ingress import replies
from postroad.policy.model import Client, ScramVerifier
from postroad.policy.secrets.scram import ITERATIONS, matches_salt, password_matches
from postroad.policy.secrets.seal import Keyring
from postroad.policy.snapshot import Snapshot
from postroad.smtp.reply import Reply

_REMEMBERED = 4096
_THREADS = 2
_MOST_WAITING = 32  # passwords: a second or so of hashing
_NICE = 10


class MalformedResponse(ValueError):
    """A client's response is not base64, or not what the mechanism requires."""


def decode(response: str) -> bytes:
    """Return the octets of a base64 response; `=` is the empty one (RFC 4954 §4)."""
    if response == "=":
        return b""
    try:
        return base64.b64decode(response, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedResponse("not base64") from error


def read_plain(response: bytes) -> tuple[str, str]:
    """Return username and password of a PLAIN response; an authorization id must be the same."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MalformedResponse("not a PLAIN response")
    authorization, username, password = (_text(part) for part in parts)
    if authorization and authorization != username:
        raise MalformedResponse("acting for others is not supported")
    return username, password


def read_word(response: bytes) -> str:
    """Return the text of one response of LOGIN."""
    return _text(response)


async def exchange(argument: str, ask: Callable[[str], Awaitable[str]]) -> tuple[str, str] | Reply:
    """
    Return the username and password of an AUTH command (RFC 4954 §4), or the reply to it.

    `ask` sends the client a challenge and returns its response. Raises MalformedResponse.
    """
    mechanism, _, rest = argument.partition(" ")
    initial = rest.strip()
    if mechanism.upper() == "PLAIN":
        response = initial or await ask("")
        if response == "*":
            return replies.AUTH_CANCELLED
        return read_plain(decode(response))
    if mechanism.upper() != "LOGIN":
        return replies.AUTH_UNKNOWN
    username = initial or await ask("VXNlcm5hbWU6")
    if username == "*":
        return replies.AUTH_CANCELLED
    response = await ask("UGFzc3dvcmQ6")
    if response == "*":
        return replies.AUTH_CANCELLED
    return read_word(decode(username)), read_word(decode(response))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedResponse("not UTF-8") from error


class PasswordsBusy(Exception):
    """More passwords wait to be hashed than are worth waiting for."""


class Passwords:
    """Checks passwords against a snapshot's Clients."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._key = secrets.token_bytes(32)
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        # The password of an unknown user is checked against this, so that it takes as long.
        unknown = secrets.token_bytes(32)
        self._nobody = ScramVerifier(secrets.token_bytes(16), ITERATIONS, unknown, unknown)
        self._hashing = 0
        self._pool = ThreadPoolExecutor(
            _THREADS, thread_name_prefix="passwords", initializer=_step_back
        )

    async def close(self) -> None:
        """Stop hashing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def recognised(self, snapshot: Snapshot, username: str, password: str) -> Client | None:
        """Return the Client if its password is recognised without hashing; None decides nothing."""
        client = snapshot.clients_by_username.get(username)
        if client is None or client.verifier is None:
            return None
        known = self._is_remembered(client.verifier, password)
        return client if known or matches_salt(client, password, self._keyring) else None

    async def prove(self, snapshot: Snapshot, username: str, password: str) -> Client | None:
        """
        Return the Client whose username and password these are, None if they are wrong.

        Takes tens of milliseconds. Raises PasswordsBusy when too many passwords wait.
        """
        client = snapshot.clients_by_username.get(username)
        verifier = client.verifier if client is not None else None
        if self._hashing >= _MOST_WAITING:
            raise PasswordsBusy
        self._hashing += 1
        try:
            matches = await asyncio.get_running_loop().run_in_executor(
                self._pool, password_matches, verifier or self._nobody, password
            )
        finally:
            self._hashing -= 1
        if not matches or verifier is None:
            return None
        self._remember(verifier, password)
        return client

    def _name(self, verifier: ScramVerifier, password: str) -> bytes:
        octets = verifier.stored_key + verifier.salt + password.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, octets, hashlib.sha256)

    def _is_remembered(self, verifier: ScramVerifier, password: str) -> bool:
        return self._name(verifier, password) in self._proven

    def _remember(self, verifier: ScramVerifier, password: str) -> None:
        self._proven[self._name(verifier, password)] = None
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)


def _step_back() -> None:
    """Lower the priority of the calling thread, where the system can."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
