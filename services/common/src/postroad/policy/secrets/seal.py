"""
Encrypts (seals) secrets in the published configuration: AES-256-GCM under the cluster key.

A sealed value is bound to its entry and field, which are the associated data: it cannot be
decrypted in another place. Its nonce is an HMAC of key, place and text, so an unchanged secret
gives the same bytes and is not written again. As with any deterministic encryption, an observer
sees that two versions of one field are equal, and nothing else.

A keyring holds two keys while a key is being replaced: the first one seals, and both open.

Each role that reads secrets has a key of its own, so that a process can open what its role needs
and nothing else: ingress faces the Internet, and must not have the logins at smarthosts. Only who
publishes has the keys of all.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
SALT_BYTES = 16


class Reader(StrEnum):
    """A role that reads secrets of the configuration, and has a key of its own."""

    INGRESS = "ingress"  # verifiers of Clients' passwords
    DELIVERY = "delivery"  # logins at smarthosts


class SealBroken(Exception):
    """A sealed value cannot be opened: it has another key or place, or was altered."""


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """The key that all processes of one role share, 32 random octets; never shown."""

    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_BYTES:
            raise ValueError(f"a cluster key has {KEY_BYTES} octets, not {len(self.octets)}")

    @property
    def key_id(self) -> str:
        """The key's name in the values it sealed; it reveals nothing of the key."""
        return self.derive("key id")[:4].hex()

    def derive(self, purpose: str, *parts: bytes) -> bytes:
        """Return 32 octets derived for one purpose; each part is hashed with its length."""
        digest = hmac.new(self.octets, b"postroad " + purpose.encode(), "sha256")
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()


class Keyring:
    """The cluster keys of one reader; the first one seals."""

    def __init__(self, keys: Sequence[ClusterKey]) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        self._primary = keys[0]
        self._keys = tuple(keys)
        self._ciphers = {key.key_id: AESGCM(key.derive("encryption")) for key in keys}

    def seal(self, place: str, text: bytes) -> str:
        """Seal a text for a place (entry key and field); the result is ASCII without quotes."""
        key_id = self._primary.key_id
        nonce = self._primary.derive("nonce", place.encode(), text)[:_NONCE_BYTES]
        sealed = self._ciphers[key_id].encrypt(nonce, text, _bound_to(key_id, place))
        return f"{key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode('ascii')}"

    def open(self, place: str, sealed: str) -> bytes:
        """Return the text that was sealed for this place; raise SealBroken when it cannot."""
        key_id, _, encoded = sealed.partition(".")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(f"sealed with the unknown key {key_id[:16]!r}")
        try:
            octets = base64.b64decode(encoded, altchars=b"-_", validate=True)
            return cipher.decrypt(
                octets[:_NONCE_BYTES], octets[_NONCE_BYTES:], _bound_to(key_id, place)
            )
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealBroken("altered, or sealed for another place") from error

    def salt(self, place: str, text: bytes) -> bytes:
        """Return the salt for a text's verifier, a function of key, place and text."""
        return _salt(self._primary, place, text)

    def is_salt(self, salt: bytes, place: str, text: bytes) -> bool:
        """Whether this is the salt of a text and place, with any of the keys."""
        return any(hmac.compare_digest(salt, _salt(key, place, text)) for key in self._keys)


Keyrings = Mapping[Reader, Keyring]
"""The keyrings that a process has: of its own role, or of all roles if it publishes."""


def _salt(key: ClusterKey, place: str, text: bytes) -> bytes:
    return key.derive("salt", place.encode(), text)[:SALT_BYTES]


def _bound_to(key_id: str, place: str) -> bytes:
    return f"postroad config 1 {key_id} {place}".encode()
