"""
Encodes the objects of a snapshot as JSON, with their secrets sealed, and decodes them.

The JSON has the fields of `policy.model`: durations in seconds, networks and names as text. A
reader ignores unknown fields and uses defaults for missing ones, so that old and new processes can
read one configuration. An unknown value (a TLS mode of a later version) makes only its own entry
unreadable.

A process without the key of a secret reads the rest of the entry, and None in place of the secret.

It does not use pydantic, which takes too much memory for the data plane.
"""

import base64
import ipaddress
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from postroad.mail.ip_address import Network
from postroad.policy.model import (
    STORED,
    Client,
    Credentials,
    Domain,
    Entry,
    ObjectKey,
    Quota,
    Relay,
    ScramVerifier,
)
from postroad.policy.secrets.seal import Keyrings, Reader, SealBroken

FORMAT = 1
_KINDS: Mapping[str, type[Entry]] = {
    "domain": Domain,
    "relay": Relay,
    "client": Client,
    "quota": Quota,
}
_READERS: Mapping[type, Reader] = {
    Credentials: Reader.DELIVERY,
    ScramVerifier: Reader.INGRESS,
}


class EntryUnreadable(Exception):
    """An entry is no object that this process can read; the error's text has no secret."""


def encode_entry(key: str, entry: Entry, keyrings: Keyrings) -> bytes:
    """Encode an entry; the same entry with the same keys gives the same bytes."""
    body = {"format": FORMAT, "spec": _Encoder(key, keyrings).write(entry, "")}
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


class EntryEncoder:
    """Encodes successive configurations, and caches the entries that do not change."""

    def __init__(self, keyrings: Keyrings) -> None:
        self._keyrings = keyrings
        self._kept: dict[str, tuple[Entry, bytes]] = {}

    def encode(self, entries: Mapping[str, Entry]) -> dict[str, bytes]:
        """Return the entries as bytes."""
        encoded: dict[str, tuple[Entry, bytes]] = {}
        for key, entry in entries.items():
            before = self._kept.get(key)
            if before is not None and before[0] == entry:
                encoded[key] = before
            else:
                encoded[key] = entry, encode_entry(key, entry, self._keyrings)
        self._kept = encoded
        return self.last

    @property
    def last(self) -> dict[str, bytes]:
        """The configuration that was encoded last."""
        return {key: data for key, (_, data) in self._kept.items()}


def decode_entry(key: str, data: bytes, keyrings: Keyrings) -> Entry:
    """
    Decode an entry, without secrets whose keyring is missing.

    EntryUnreadable says why it cannot be read.
    """
    kind = _KINDS.get(key.partition(".")[0])
    if kind is None:
        raise EntryUnreadable("an object of a kind this version does not know")
    try:
        body = json.loads(data)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise EntryUnreadable("written in a format this version does not know")
        entry: Entry = _Decoder(key, keyrings).read(kind, body["spec"], "")
        return entry
    except SealBroken as error:
        raise EntryUnreadable(f"a secret in it is {error}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # The error may quote a part of the entry, which may be a secret.
        raise EntryUnreadable(f"not understood ({type(error).__name__})") from None


class _Encoder:
    """Turns values into JSON's types."""

    def __init__(self, key: str, keyrings: Keyrings) -> None:
        self._key = key
        self._keyrings = keyrings

    def write(self, value: Any, field: str) -> Any:
        reader = _READERS.get(type(value))
        if reader is not None:
            text = json.dumps(self._write_fields(value, field), sort_keys=True).encode()
            return {"sealed": self._keyrings[reader].seal(f"{self._key} {field}", text)}
        if isinstance(value, ObjectKey):
            return str(value)
        if isinstance(value, Enum):
            return value.value
        if is_dataclass(value):
            return self._write_fields(value, field)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, bytes):
            return base64.b64encode(value).decode("ascii")
        if isinstance(value, frozenset):
            return sorted(value)
        if isinstance(value, tuple):
            return [self.write(each, field) for each in value]
        if isinstance(value, Network):
            return str(value)
        return value

    def _write_fields(self, value: Any, field: str) -> dict[str, Any]:
        return {
            name: self.write(getattr(value, each.name), f"{field}.{name}")
            for each in fields(value)
            if each.init and (name := _stored(each))  # the others follow from these
        }


class _Decoder:
    """Turns JSON's types into values, by the types of the fields."""

    def __init__(self, key: str, keyrings: Keyrings) -> None:
        self._key = key
        self._keyrings = keyrings

    def read(self, hint: Any, value: Any, field: str) -> Any:
        if get_origin(hint) in (Union, types.UnionType) and hint != Network:
            if value is None:
                return None
            (hint,) = (each for each in get_args(hint) if each is not types.NoneType)
        elif value is None:
            raise ValueError("null in a required field")
        if get_origin(hint) is tuple:
            of = get_args(hint)[0]
            return tuple(self.read(of, each, field) for each in _a_list(value))
        if get_origin(hint) is frozenset:
            return frozenset(_a_text(each) for each in _a_list(value))
        if hint in _READERS:
            keyring = self._keyrings.get(_READERS[hint])
            if keyring is None:
                return None  # it is for another role
            value = json.loads(keyring.open(f"{self._key} {field}", value["sealed"]))
        if hint in _SCALARS:
            return _SCALARS[hint](value)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(value)
        return self._read_fields(hint, value, field)

    def _read_fields(self, hint: Any, value: Mapping[str, Any], field: str) -> Any:
        known = {
            name: self.read(of, value[stored], f"{field}.{stored}")
            for name, stored, of, required in _fields_of(hint)
            if required or stored in value
        }
        return hint(**known)


def _stored(each: Field[Any]) -> str:
    """Return the name by which a field is stored, which stays when the field is renamed."""
    return str(each.metadata.get(STORED, each.name))


@lru_cache
def _fields_of(of: type) -> tuple[tuple[str, str, Any, bool], ...]:
    hints = get_type_hints(of)
    return tuple(
        (
            each.name,
            _stored(each),
            hints[each.name],
            each.default is MISSING and each.default_factory is MISSING,
        )
        for each in fields(of)
        if each.init
    )


def _a_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _a_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _a_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return value


def _a_count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _a_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    return value


def _a_key(value: object) -> ObjectKey:
    namespace, slash, name = _a_text(value).partition("/")
    if not (namespace and slash and name):
        raise ValueError("not namespace/name")
    return ObjectKey(namespace, name)


_SCALARS: Mapping[Any, Callable[[Any], Any]] = {
    str: _a_text,
    int: _a_count,
    float: _a_number,
    bool: _a_switch,
    bytes: lambda value: base64.b64decode(_a_text(value), validate=True),
    timedelta: lambda value: timedelta(seconds=_a_number(value)),
    Network: lambda value: ipaddress.ip_network(_a_text(value)),
    ObjectKey: _a_key,
}
