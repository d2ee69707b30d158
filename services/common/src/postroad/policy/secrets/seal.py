"""
Secrets in the published configuration, sealed with AES-256-GCM under the cluster key.

A sealed value is bound to the entry and the field it stands in (as associated data): moved to
another entry it does not open. Its nonce derives from key, place and text by HMAC, so that an
unchanged secret seals to the same bytes and is not written again; as with any deterministic
encryption, an onlooker learns that two generations of one field are equal, and nothing else.

A keyring may hold two keys while they are exchanged: the first seals, each opens what it sealed.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16


class SealBroken(Exception):
    """A sealed value does not open: another key's, another place's, or altered."""


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """The key all processes of a cluster share, 32 random octets; never shown."""

    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.octets) != KEY_BYTES:
            raise ValueError(f"a cluster key has {KEY_BYTES} octets, not {len(self.octets)}")

    @property
    def key_id(self) -> str:
        """Names the key beside what it sealed; tells nothing of the key."""
        return self.derive("key id")[:4].hex()

    def derive(self, purpose: str, *parts: bytes) -> bytes:
        """Return 32 octets for one purpose; each part counts with its length."""
        digest = hmac.new(self.octets, b"postroad " + purpose.encode(), "sha256")
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()


class Keyring:
    """The cluster keys a process knows; the first one seals."""

    def __init__(self, keys: Sequence[ClusterKey]) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        self._primary = keys[0]
        self._keys = tuple(keys)
        self._ciphers = {key.key_id: AESGCM(key.derive("encryption")) for key in keys}

    def seal(self, place: str, text: bytes) -> str:
        """Seal a text for a place (entry key and field); ASCII without quotes or spaces."""
        key_id = self._primary.key_id
        nonce = self._primary.derive("nonce", place.encode(), text)[:_NONCE_BYTES]
        sealed = self._ciphers[key_id].encrypt(nonce, text, _bound_to(key_id, place))
        return f"{key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode('ascii')}"

    def open(self, place: str, sealed: str) -> bytes:
        """Return what was sealed for this place; raise SealBroken when it was not."""
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
        """Return the salt for a text's verifier: the same as long as key, place and text are."""
        return _salt(self._primary, place, text)

    def is_salt(self, salt: bytes, place: str, text: bytes) -> bool:
        """Whether a salt is this text's for a place, under any of the keys."""
        return any(hmac.compare_digest(salt, _salt(key, place, text)) for key in self._keys)


def _salt(key: ClusterKey, place: str, text: bytes) -> bytes:
    return key.derive("salt", place.encode(), text)[:_SALT_BYTES]


def _bound_to(key_id: str, place: str) -> bytes:
    return f"postroad config 1 {key_id} {place}".encode()
