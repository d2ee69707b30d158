"""Sealed secrets open only unchanged, in their place and under their key."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.policy.secrets.seal import ClusterKey, Keyring, SealBroken

OLD, NEW = ClusterKey(b"o" * 32), ClusterKey(b"n" * 32)
RING = Keyring([OLD])
PLACE = "relay.a.b .way_out.credentials"


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_is_sealed_opens_in_its_place(text: bytes, place: str) -> None:
    sealed = RING.seal(place, text)
    assert sealed.isascii()
    assert RING.open(place, sealed) == text
    assert RING.seal(place, text) == sealed


def test_it_opens_in_no_other_place() -> None:
    with pytest.raises(SealBroken, match="another place"):
        RING.open(PLACE.replace("relay.a.b", "relay.a.c"), RING.seal(PLACE, b"secret"))


def test_no_bit_of_it_may_change() -> None:
    key_id, _, encoded = RING.seal(PLACE, b"secret").partition(".")
    octets = base64.urlsafe_b64decode(encoded)
    for position in range(len(octets)):
        changed = bytearray(octets)
        changed[position] ^= 1
        altered = f"{key_id}.{base64.urlsafe_b64encode(changed).decode()}"
        with pytest.raises(SealBroken):
            RING.open(PLACE, altered)
    with pytest.raises(SealBroken):
        RING.open(PLACE, f"{key_id}.{base64.urlsafe_b64encode(octets[:-1]).decode()}")


@given(st.text(max_size=60))
def test_rubbish_is_refused_as_such(rubbish: str) -> None:
    for sealed in (rubbish, f"{OLD.key_id}.{rubbish}"):
        with pytest.raises(SealBroken):
            RING.open(PLACE, sealed)


def test_other_texts_and_places_share_no_nonce() -> None:
    sealed = [RING.seal(place, text) for place in ("a", "b") for text in (b"1", b"2")]
    nonces = {base64.urlsafe_b64decode(each.partition(".")[2])[:12] for each in sealed}
    assert len(nonces) == 4


def test_two_keys_while_they_are_exchanged() -> None:
    sealed_before = RING.seal(PLACE, b"secret")
    both = Keyring([NEW, OLD])
    assert both.open(PLACE, sealed_before) == b"secret"
    resealed = both.seal(PLACE, b"secret")
    assert Keyring([NEW]).open(PLACE, resealed) == b"secret"
    with pytest.raises(SealBroken, match="unknown key"):
        Keyring([NEW]).open(PLACE, sealed_before)


def test_a_key_is_never_shown() -> None:
    assert "oooo" not in repr(OLD)
    assert OLD.octets.hex() not in OLD.key_id


@pytest.mark.parametrize("octets", [b"", b"k" * 31, b"k" * 33])
def test_a_key_has_32_octets(octets: bytes) -> None:
    with pytest.raises(ValueError, match="32 octets"):
        ClusterKey(octets)
