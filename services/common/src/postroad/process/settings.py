"""
Reads the settings of a process from environment variables that start with `POSTROAD_`.

A process declares its settings as one frozen dataclass, grouped by further dataclasses. The path of
a field gives the variable's name (`nats.url` is POSTROAD_NATS_URL), and its type selects the
parser. `load` reads all settings before anything starts, and reports all mistakes together.

Why not pydantic-settings: a model of ten fields takes 10 MB of resident memory in each process of
the data plane, which must stay under 80 MB idle. It would not spare the parsers that matter here
(durations and sizes with units, listening addresses, secrets from files).

A field without a default is required. An empty variable counts as not set, because templates and
compose files produce empty ones. A secret comes from NAME, or from the file in NAME_FILE, which is
how Kubernetes and systemd provide secrets.
"""

import difflib
import os
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from postroad.mail.ip_address import Network
from postroad.process.errors import SettingsError
from postroad.units.addresses import (
    HostName,
    ListenAddress,
    NameServer,
    SocketAddress,
    parse_host_name,
    parse_listen_address,
    parse_name_server,
    parse_network,
    parse_socket_address,
)
from postroad.units.quantities import ByteSize, format_duration, parse_duration, parse_size
from postroad.units.secret import Secret

PREFIX = "POSTROAD_"
_NEXT_URL = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)")
_SCHEME = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*://)?")
_ALIKE = 0.85  # how similar (0 to 1) an unknown name and a setting are for a suggestion

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _parse_int(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _parse_bool(text: str) -> bool:
    """Read a switch: true, yes, on, 1 or their opposites."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


_PARSERS: dict[Any, Callable[[str], object]] = {
    str: str,
    int: _parse_int,
    bool: _parse_bool,
    timedelta: parse_duration,
    ByteSize: parse_size,
    HostName: parse_host_name,
    SocketAddress: parse_socket_address,
    ListenAddress: parse_listen_address,
    NameServer: parse_name_server,
    Network: parse_network,
    Path: Path,
    Secret: Secret,
}


def setting(default: T, *, minimum: T | None = None, maximum: T | None = None, name: str = "") -> T:
    """
    Declare a field with its default and bounds (both inclusive).

    `name` is the whole variable name where it does not follow from the field's path.
    """
    metadata = {"minimum": minimum, "maximum": maximum, "name": name}
    return field(default=default, metadata=metadata)


def group(of: type[T], *, prefix: str | None = None) -> T:
    """
    Declare a field that is a group of settings of its own.

    Its variables begin with the field's name, or with `prefix` when given ("" for none).
    """
    return field(default_factory=of, metadata={"prefix": prefix})


def load(of: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Read the settings of a process; SettingsError lists every mistake."""
    reader = _Reader(os.environ if environ is None else environ)
    loaded = reader.read_group(of, PREFIX)
    if reader.problems or loaded is None:
        raise SettingsError(tuple(reader.problems))
    return loaded


def describe(settings: object) -> dict[str, str]:
    """Return variable name → value in force, for the log at start; secrets are redacted."""
    return {name: shown(value) for name, _, value in _in_force(settings, PREFIX)}


def changed(settings: object) -> dict[str, str]:
    """Return variable name → value in force, for settings that differ from their defaults."""
    return {
        name: shown(value)
        for name, each, value in _in_force(settings, PREFIX)
        if value != each.default
    }


def _in_force(settings: object, prefix: str) -> Iterator[tuple[str, Field[Any], object]]:
    """Yield the variable, the field and the value of everything that is set or has a default."""
    for each in fields(cast(Any, settings)):
        value = getattr(settings, each.name)
        if is_dataclass(value) and type(value) not in _PARSERS:
            yield from _in_force(value, group_prefix(each, prefix))
        elif value is not None:
            yield variable(each, prefix), each, value


def names(of: type[Any], prefix: str = PREFIX) -> frozenset[str]:
    """Return the names of all variables that a group of settings is read from."""
    hints = get_type_hints(of)
    found: set[str] = set()
    for each in fields(of):
        if is_group(hints[each.name]):
            found |= names(hints[each.name], group_prefix(each, prefix))
            continue
        name = variable(each, prefix)
        found.add(name)
        if plain_type(hints[each.name]) is Secret:
            found.add(f"{name}_FILE")
    return frozenset(found)


def unknown(environ: Iterable[str], known: Collection[str]) -> dict[str, str | None]:
    """Return the POSTROAD_ variables that are no settings, each with the name it may mean."""
    found = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
            found[name] = close[0] if close else None
    return found


class _Reader:
    """Reads groups of settings from one environment, and collects all problems."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def read_group(self, of: type[T], prefix: str) -> T | None:
        """Return the group, or None when a problem was added."""
        hints = get_type_hints(of)
        values: dict[str, object] = {}
        before = len(self.problems)
        for each in fields(cast(Any, of)):
            hint = hints[each.name]
            if is_group(hint):
                values[each.name] = self.read_group(hint, group_prefix(each, prefix))
            else:
                self._read_field(each, hint, variable(each, prefix), values)
        if len(self.problems) > before:
            return None
        try:
            return of(**values)
        except ValueError as error:  # from __post_init__, about several fields together
            self.problems.append(str(error))
            return None

    def _read_field(
        self, each: Field[Any], hint: Any, name: str, values: dict[str, object]
    ) -> None:
        plain = plain_type(hint)
        try:
            text = self._secret_text(name) if plain is Secret else self._text(name)
            if text is not None:
                values[each.name] = _in_bounds(_parse(plain, text), each)
            elif each.default is MISSING and each.default_factory is MISSING:
                raise ValueError("is required and not set")
        except ValueError as error:
            self.problems.append(f"{name}: {error}")

    def _text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def _secret_text(self, name: str) -> str | None:
        inline = self._environ.get(name) or None
        named = self._text(f"{name}_FILE")
        if named is None:
            return inline
        if inline is not None:
            raise ValueError(f"is set, and {name}_FILE too; keep one of them")
        try:
            # An editor adds one newline at the end; it is not part of the secret.
            content = Path(named).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ValueError(f"the file {named} cannot be read: {reason}") from error
        if not content:
            raise ValueError(f"the file {named} is empty")
        return content


def _parse(hint: Any, text: str) -> object:
    if get_origin(hint) is tuple:
        (of, *_) = get_args(hint)
        return tuple(_parse(of, part.strip()) for part in text.split(",") if part.strip())
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(text)
        except ValueError:
            choices = ", ".join(str(member.value) for member in hint)
            raise ValueError(f"{text!r} is not one of {choices}") from None
    return _PARSERS[hint](text)


def _in_bounds(value: Any, each: Field[Any]) -> object:
    minimum, maximum = each.metadata.get("minimum"), each.metadata.get("maximum")
    if minimum is not None and value < minimum:
        raise ValueError(f"{shown(value)} is less than {shown(minimum)}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{shown(value)} is more than {shown(maximum)}")
    return value


def is_group(hint: Any) -> bool:
    """Whether a field of this type is a group of settings of its own."""
    return isinstance(hint, type) and is_dataclass(hint) and hint not in _PARSERS


def plain_type(hint: Any) -> Any:
    """Return a field's type without None."""
    if get_origin(hint) in (Union, types.UnionType):
        (plain,) = (of for of in get_args(hint) if of is not types.NoneType)
        return plain
    return hint


def variable(each: Field[Any], prefix: str) -> str:
    """Return the name of a field's variable."""
    return each.metadata.get("name") or prefix + each.name.upper()


def group_prefix(each: Field[Any], prefix: str) -> str:
    """Return the prefix of the names of a group's variables."""
    own = each.metadata.get("prefix")
    return prefix + (f"{each.name.upper()}_" if own is None else own)


def shown(value: object) -> str:
    """Return a value in the form that a variable has, without logins in URLs."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return ",".join(shown(part) for part in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return without_login(str(value))


def without_login(urls: str) -> str:
    """
    Return comma-separated URLs without user, password or token: nats://***@10.0.0.1:4222.

    A URL may lack its scheme, and its login may have unescaped characters. So everything before the
    last @ is hidden.
    """
    return ",".join([_without_login(url) for url in _NEXT_URL.split(urls)])


def _without_login(url: str) -> str:
    scheme = _SCHEME.match(url)
    assert scheme is not None
    login, at, host = url[scheme.end() :].rpartition("@")
    return f"{scheme[0]}***@{host}" if at and login else url
