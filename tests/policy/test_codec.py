"""Published entries, written and read: equal, sealed, readable by older and newer processes."""

import ipaddress
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.traffic import TrafficClass
from postroad.policy.codec import EntryUnreadable, decode_entry, encode_entry
from postroad.policy.model import (
    ClaimBasis,
    Client,
    Credentials,
    Domain,
    EgressPath,
    Entry,
    ObjectKey,
    OnExceeded,
    Quota,
    QuotaLimit,
    QuotaSubject,
    QuotaUnit,
    Rate,
    Reach,
    Receive,
    Relay,
    RetrySchedule,
    ScramVerifier,
    SiteLimits,
    Smarthost,
    Source,
    SubjectKind,
    TlsMode,
)
from postroad.policy.secrets.seal import ClusterKey, Keyring, Reader
from postroad.testing.keys import keyrings

RINGS = keyrings()
KEY = ObjectKey("shop", "x.y")
RELAY = Relay(
    KEY,
    ("*.example.com", "*"),
    EgressPath(
        name="relay:shop/x.y",
        smarthosts=(Smarthost("a.example", 465, 1, 2), Smarthost("2001:db8::1")),
        tls=TlsMode.VERIFIED,
        implicit_tls=True,
        credentials=Credentials("user", "top secret"),
        pool="two",
        sources=(Source("s", "192.0.2.1", None, 3),),
        retry=RetrySchedule(timedelta(milliseconds=1500), 2.0, delay_warning=None),
        limits=SiteLimits(1, 2, Rate(3, timedelta(minutes=1))),
    ),
)
DOMAIN = Domain(
    KEY,
    "example.com",
    receive=Receive(EgressPath("domain:shop/x.y", (Smarthost("real"),)), ("info@example.com",)),
    sends=True,
    relay=ObjectKey("mail", "direct"),
    admits=frozenset({"b", "a"}),
)
CLIENT = Client(
    KEY,
    username="webshop",
    verifier=ScramVerifier(b"salt", 10, b"stored key", b"server key"),
    networks=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")),
    senders=("*@example.com",),
    traffic_class=TrafficClass.BULK,
)
QUOTA = Quota(
    KEY,
    QuotaSubject(SubjectKind.CLIENT_NETWORK, prefix_length=24),
    (QuotaLimit(QuotaUnit.BYTES, 10 * 2**30, timedelta(days=1)),),
    OnExceeded.HOLD,
)
ENTRIES: dict[str, Entry] = {
    "relay.shop.x.y": RELAY,
    "domain.shop.x.y": DOMAIN,
    "domain.shop.open": Domain(KEY, "b.example", admits=None),
    "domain.shop.claimed": Domain(
        KEY, "c.example", sends=True, claim=ClaimBasis.TXT, reach=Reach.HOME
    ),
    "client.shop.x.y": CLIENT,
    "quota.shop.x.y": QUOTA,
}


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_reads_back_as_it_was(key: str) -> None:
    data = encode_entry(key, ENTRIES[key], RINGS)
    assert decode_entry(key, data, RINGS) == ENTRIES[key]
    assert encode_entry(key, decode_entry(key, data, RINGS), RINGS) == data


@pytest.mark.parametrize("key", ["relay.shop.x.y", "client.shop.x.y"])
def test_a_secret_is_nowhere_in_the_bytes(key: str) -> None:
    data = encode_entry(key, ENTRIES[key], RINGS)
    assert b"top secret" not in data
    assert b"c3RvcmVkIGtleQ" not in data  # "stored key" in base64
    assert b"sealed" in data


def test_a_secret_moved_to_another_entry_does_not_open() -> None:
    data = encode_entry("relay.shop.x.y", RELAY, RINGS)
    with pytest.raises(EntryUnreadable, match="a secret in it is altered"):
        decode_entry("relay.evil.x.y", data, RINGS)


def test_without_its_key_an_entry_is_unreadable() -> None:
    data = encode_entry("relay.shop.x.y", RELAY, RINGS)
    with pytest.raises(EntryUnreadable, match="unknown key"):
        decode_entry("relay.shop.x.y", data, keyrings(b"z"))


@pytest.mark.parametrize("key", ENTRIES)
@pytest.mark.parametrize("reader", Reader)
def test_a_role_reads_every_entry_without_the_secrets_of_others(key: str, reader: Reader) -> None:
    data = encode_entry(key, ENTRIES[key], RINGS)
    read = decode_entry(key, data, {reader: RINGS[reader]})
    for_delivery = replace(CLIENT, verifier=None)
    for_ingress = replace(RELAY, egress_path=replace(RELAY.egress_path, credentials=None))
    hidden: dict[tuple[str, Reader], Entry] = {
        ("client.shop.x.y", Reader.DELIVERY): for_delivery,
        ("relay.shop.x.y", Reader.INGRESS): for_ingress,
    }
    assert read == hidden.get((key, reader), ENTRIES[key])


def edited(entry: str, **changes: Any) -> bytes:
    body = json.loads(encode_entry(entry, ENTRIES[entry], RINGS))
    body["spec"].update(changes)
    return json.dumps(body).encode()


def test_fields_of_a_newer_version_are_passed_over() -> None:
    data = edited("quota.shop.x.y", burst=5)
    assert decode_entry("quota.shop.x.y", data, RINGS) == QUOTA


def test_fields_an_older_version_did_not_write_have_their_defaults() -> None:
    body = json.loads(encode_entry("client.shop.x.y", CLIENT, RINGS))
    del body["spec"]["traffic_class"]
    client = decode_entry("client.shop.x.y", json.dumps(body).encode(), RINGS)
    assert isinstance(client, Client)
    assert client.traffic_class is TrafficClass.TRANSACTIONAL


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("policy.shop.x", b"{}"),
        ("quota.shop.x.y", b""),
        ("quota.shop.x.y", b"\xff"),
        ("quota.shop.x.y", b"[]"),
        ("quota.shop.x.y", b'{"format":2,"spec":{}}'),
        ("quota.shop.x.y", b'{"format":1}'),
        ("quota.shop.x.y", b'{"format":1,"spec":{}}'),
        ("quota.shop.x.y", b'{"format":1,"spec":null}'),
        ("quota.shop.x.y", edited("quota.shop.x.y", on_exceeded="Explode")),
        ("quota.shop.x.y", edited("quota.shop.x.y", key="nokey")),
        ("quota.shop.x.y", edited("quota.shop.x.y", limits={"a": 1})),
        ("client.shop.x.y", edited("client.shop.x.y", networks=["10.0.0.1/8"])),
        ("client.shop.x.y", edited("client.shop.x.y", senders=None)),
        ("client.shop.x.y", edited("client.shop.x.y", verifier={"sealed": 3})),
        ("domain.shop.x.y", edited("domain.shop.x.y", sends="yes")),
        ("domain.shop.x.y", b"[" * 100_000),
    ],
)
def test_what_is_no_entry_is_unreadable_and_nothing_worse(key: str, data: bytes) -> None:
    with pytest.raises(EntryUnreadable):
        decode_entry(key, data, RINGS)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
def test_any_json_is_an_entry_or_unreadable(value: object) -> None:
    data = json.dumps({"format": 1, "spec": {"key": "a/b", "domain": "x", "receive": value}})
    try:
        assert isinstance(decode_entry("domain.a.b", data.encode(), RINGS), Domain)
    except EntryUnreadable:
        pass


# As earlier versions wrote ENTRIES, with one key for all roles.
STORED: dict[str, Any] = json.loads(Path(__file__).with_name("stored_entries.json").read_text())


@pytest.mark.parametrize("key", ENTRIES)
def test_what_was_published_before_is_read(key: str) -> None:
    keys = dict.fromkeys(Reader, Keyring([ClusterKey(b"k" * 32)]))
    assert decode_entry(key, json.dumps(STORED[key]).encode(), keys) == ENTRIES[key]


# Fields that an entry has only in the later of its forms.
ADDED = ("claim", "reach")


@pytest.mark.parametrize("key", ENTRIES)
def test_what_is_published_has_the_form_that_it_had(key: str) -> None:
    written, stored = json.loads(encode_entry(key, ENTRIES[key], RINGS)), STORED[key]
    for name in ADDED:
        if name not in stored["spec"]:
            written["spec"].pop(name, None)
    assert unsealed(written) == unsealed(stored)


def unsealed(value: Any) -> Any:
    """Return what was written without what is drawn anew for each secret."""
    if isinstance(value, dict):
        return {name: name if name == "sealed" else unsealed(each) for name, each in value.items()}
    return [unsealed(each) for each in value] if isinstance(value, list) else value
