"""
Proving a password: SASL PLAIN (RFC 4616) and LOGIN against SCRAM verifiers.

A check costs milliseconds of hashing and runs in a thread. What was proven once is remembered under
an HMAC with a key of this process alone, so that an application that logs in for every message pays
once; the memory is bounded, and a changed verifier makes the old entry unreachable. An unknown user
takes as long as a wrong password.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict

from postroad.policy.model import Client, ScramVerifier, Snapshot
from postroad.policy.scram import make_verifier, password_matches

_REMEMBERED = 4096


class MalformedResponse(ValueError):
    """A client's answer is not base64, or not what the mechanism says."""


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
    """Return one answer of LOGIN."""
    return _text(response)


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedResponse("not UTF-8") from error


class Passwords:
    """Checks passwords against a snapshot's Clients."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        # What an unknown user's password is checked against, so that it takes as long.
        self._nobody = make_verifier(secrets.token_hex(16), salt=secrets.token_bytes(16))

    async def prove(self, snapshot: Snapshot, username: str, password: str) -> Client | None:
        """Return the Client a username and password prove, None when they prove nothing."""
        client = snapshot.clients_by_username.get(username)
        verifier = client.verifier if client is not None else None
        if verifier is not None and self._is_remembered(verifier, password):
            return client
        matches = await asyncio.to_thread(password_matches, verifier or self._nobody, password)
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
