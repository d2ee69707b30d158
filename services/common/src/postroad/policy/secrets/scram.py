"""
Passwords as SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), against which ingress checks logins.

A verifier checks a password and does not contain it. The same form serves PLAIN and LOGIN today and
can serve SCRAM later, because it has the salt and the iteration count.
"""

import hashlib
import hmac
import stringprep
import unicodedata

from postroad.policy.model import Client, ObjectKey, ScramVerifier
from postroad.policy.secrets.seal import Keyring

# RFC 7677 §4 requires 4096 at least. An attacker without the cluster's key pays for this many
# hashes, about 40 ms, for each guess; a correct login does not (`matches_salt`).
ITERATIONS = 100_000


def make_verifier(password: str, *, salt: bytes, iterations: int = ITERATIONS) -> ScramVerifier:
    """Derive the verifier of a password (RFC 5802 §3)."""
    salted = _salted(password, salt, iterations)
    stored_key, server_key = _keys(salted)
    return ScramVerifier(salt, iterations, stored_key, server_key)


def salt_of(keyring: Keyring, client: ObjectKey, username: str, password: str) -> bytes:
    """Return the salt for a Client's password, a function of all the arguments."""
    return keyring.salt(_place(client, username), password.encode("utf-8", "surrogatepass"))


def matches_salt(client: Client, password: str, keyring: Keyring) -> bool:
    """
    Whether a Client's verifier was made from exactly this password, by its salt, in microseconds.

    False decides nothing: the password may be correct in another spelling (see `prepare`), or the
    verifier may have been made with another key.
    """
    if client.verifier is None or client.username is None:
        return False
    octets = password.encode("utf-8", "surrogatepass")
    return keyring.is_salt(client.verifier.salt, _place(client.key, client.username), octets)


def _place(client: ObjectKey, username: str) -> str:
    return f"client.{client.namespace}.{client.name} {username}"


def password_matches(verifier: ScramVerifier, password: str) -> bool:
    """
    Whether this is the verifier's password, compared in constant time.

    It takes milliseconds with the interpreter lock released: call it in a thread.
    """
    salted = _salted(password, verifier.salt, verifier.iterations)
    stored_key, _ = _keys(salted)
    return hmac.compare_digest(stored_key, verifier.stored_key)


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    octets = prepare(password).encode("utf-8", "surrogatepass")
    return hashlib.pbkdf2_hmac("sha256", octets, salt, iterations)


def _keys(salted: bytes) -> tuple[bytes, bytes]:
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return hashlib.sha256(client_key).digest(), server_key


def prepare(text: str) -> str:
    """
    Return a text in SASLprep's form (RFC 4013 §2.1, §2.2), which is equal for all keyboards.

    Characters that SASLprep prohibits are not refused: such a text simply matches no other.
    """
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    return unicodedata.normalize("NFKC", mapped)
