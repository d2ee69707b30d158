"""
Passwords as SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677): what ingress checks a login against.

The verifier proves a password and does not contain it. One kept form serves PLAIN and LOGIN now
and SCRAM later, whose salt and iteration count it carries.
"""

import hashlib
import hmac
import stringprep
import unicodedata

from postroad.policy.model import Client, ObjectKey, ScramVerifier
from postroad.policy.secrets.seal import Keyring

# RFC 7677 §4 asks for 4096 at least. Whoever guesses without the cluster's key pays for this many
# hashes, about 40 ms, for each guess; a right login does not (`matches_salt`).
ITERATIONS = 100_000


def make_verifier(password: str, *, salt: bytes, iterations: int = ITERATIONS) -> ScramVerifier:
    """Derive the verifier of a password (RFC 5802 §3)."""
    salted = _salted(password, salt, iterations)
    stored_key, server_key = _keys(salted)
    return ScramVerifier(salt, iterations, stored_key, server_key)


def salt_of(keyring: Keyring, client: ObjectKey, username: str, password: str) -> bytes:
    """Return the salt for a Client's password: the same as long as all of these are."""
    return keyring.salt(_place(client, username), password.encode("utf-8", "surrogatepass"))


def matches_salt(client: Client, password: str, keyring: Keyring) -> bool:
    """
    Whether a Client's verifier was made of just this password, told by its salt in microseconds.

    False decides nothing: the password may be right in another spelling (see `prepare`), or the
    verifier made elsewhere.
    """
    if client.verifier is None or client.username is None:
        return False
    octets = password.encode("utf-8", "surrogatepass")
    return keyring.is_salt(client.verifier.salt, _place(client.key, client.username), octets)


def _place(client: ObjectKey, username: str) -> str:
    return f"client.{client.namespace}.{client.name} {username}"


def password_matches(verifier: ScramVerifier, password: str) -> bool:
    """
    Whether this is the verifier's password, in time that does not tell how close it is.

    Costs milliseconds with the interpreter's lock released: call it in a thread.
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
    Return a text as SASLprep maps it (RFC 4013 §2.1, §2.2), so that keyboards need not agree.

    What SASLprep prohibits is not looked for here: such a text simply matches nothing else.
    """
    if text.isascii():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    return unicodedata.normalize("NFKC", mapped)
