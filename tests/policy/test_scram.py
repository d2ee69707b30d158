"""A verifier accepts its own password and no other."""

import base64
import hashlib
import hmac

import pytest

from postroad.policy.secrets.scram import make_verifier, password_matches


def test_the_keys_are_those_of_rfc_7677() -> None:
    # RFC 7677 §3: user "user", password "pencil"; the server key signs what the RFC shows.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = make_verifier("pencil", salt=salt, iterations=4096)
    auth_message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(verifier.server_key, auth_message, "sha256")
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    client_signature = hmac.digest(verifier.stored_key, auth_message, "sha256")
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_key = bytes(a ^ b for a, b in zip(proof, client_signature, strict=True))
    assert hashlib.sha256(client_key).digest() == verifier.stored_key


@pytest.mark.parametrize(
    ("password", "offered", "matches"),
    [
        ("pass", "pass", True),
        ("pass", "Pass", False),
        ("pass", "", False),
        ("pass", "pass ", False),
        ("pa\u00ads", "pas", True),  # RFC 4013 §3: a soft hyphen is mapped to nothing
        ("\u2168", "IX", True),  # RFC 4013 §3: compatibility forms are one
        ("grün", "gru\u0308n", True),
        ("grün", "grun", False),
        ("a\u00a0b", "a b", True),
        ("\udc80", "\udc81", False),  # octets that were no UTF-8
    ],
)
def test_a_password_matches_itself_in_any_spelling(
    password: str, offered: str, matches: bool
) -> None:
    verifier = make_verifier(password, salt=b"s" * 16, iterations=10)
    assert password_matches(verifier, offered) is matches


def test_a_verifier_shows_no_key() -> None:
    verifier = make_verifier("pass", salt=b"s" * 16, iterations=10)
    assert "key" not in repr(verifier)
