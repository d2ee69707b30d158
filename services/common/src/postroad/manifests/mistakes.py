"""
Turns the errors of pydantic into sentences that say what to do.

It also has the list of planned fields and values, which are not supported yet. They are refused by
name, because a silently ignored DKIM key or DMARC rule would be worse. docs/resources.md prints the
same list.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from postroad.manifests.kinds.part import Part
from postroad.manifests.kinds.readers import shown
from postroad.manifests.objects import Kind, Path, Problem
from postroad.manifests.schema import object_schema, properties_at

# Field (indexes left out) → what to do instead, for now.
PLANNED_FIELDS: Mapping[Kind, Mapping[str, str]] = {
    Kind.DOMAIN: {
        "spec.receive.authentication": "SPF, DKIM, DMARC and ARC are left to the real server",
        "spec.send.dkim": "sign before this relay, or at the smarthost",
        "spec.send.bounceDomain": "bounces go to the envelope's sender",
    },
    Kind.RELAY: {
        "spec.egress.proxy": "connections are made directly",
    },
    Kind.QUOTA: {},
    Kind.CLIENT: {
        "spec.certificate": "prove the client by auth or networks",
        "spec.token": "prove the client by auth or networks",
    },
    Kind.DOMAIN_GRANT: {},
}
PLANNED_VALUES: Mapping[Kind, Mapping[tuple[str, str], str]] = {
    Kind.DOMAIN: {
        ("spec.receive.mode", "Inline"): "use Queued",
        ("spec.receive.recipients.mode", "Callout"): "use List or Any",
        ("spec.receive.route.tls", "DANE"): "use Verified",
    },
    Kind.RELAY: {("spec.tls.mode", "DANE"): "use Verified, or Opportunistic to MX hosts"},
    Kind.QUOTA: {},
    Kind.CLIENT: {},
    Kind.DOMAIN_GRANT: {},
}


def explain(kind: Kind, model: type[Part], error: ValidationError, given: object) -> list[Problem]:
    """Return every error about the given values as a problem at its field."""
    found = error.errors(include_url=False)
    told = [_explain_one(kind, model, each) for each in _telling(found)]
    at_odds = model.at_odds(given) if isinstance(given, Mapping) else ()
    rules = [_broken(("spec",), each.context or {}) for each in at_odds]
    return told + [each for each in rules if each not in told]


def _telling(found: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    # Pydantic also reports a list with wrong entries as too short, which would only confuse.
    around = {each["loc"][:length] for each in found for length in range(len(each["loc"]))}
    for each in found:
        if each["type"] != "too_short" or each["loc"] not in around:
            yield each


def _explain_one(kind: Kind, model: type[Part], found: ErrorDetails) -> Problem:
    path: Path = ("spec", *found["loc"])
    context: Mapping[str, Any] = found.get("ctx", {})
    if found["type"] == "rule":
        return _broken(path, context)
    plain = ".".join(step for step in path if isinstance(step, str))
    if found["type"] == "extra_forbidden":
        return Problem(path, _unknown_field(kind, model, path, plain))
    value = found.get("input")
    if isinstance(value, str) and (plain, value) in PLANNED_VALUES[kind]:
        advice = PLANNED_VALUES[kind][plain, value]
        return Problem(path, f"{value} is not supported yet; {advice}")
    return Problem(path, _sentence(found["type"], context, value, found["msg"]))


def _broken(path: Path, context: Mapping[str, Any]) -> Problem:
    return Problem(path + _steps(context["field"]), context["message"])


def _steps(field: str) -> Path:
    steps: list[str | int] = []
    for part in field.replace("[", ".[").split("."):
        if part.startswith("["):
            steps.append(int(part[1:-1]))
        elif part:
            steps.append(part)
    return tuple(steps)


def _unknown_field(kind: Kind, model: type[Part], path: Path, plain: str) -> str:
    if plain in PLANNED_FIELDS[kind]:
        return f"is not supported yet; remove it ({PLANNED_FIELDS[kind][plain]})"
    known = properties_at(object_schema(model), path[1:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    advice = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
    return f"is not a field here{advice if known else ''}"


def _sentence(code: str, context: Mapping[str, Any], value: object, message: str) -> str:
    if code == "missing":
        return "is required"
    if code == "value_error":
        return str(context["error"])
    if code in ("enum", "literal_error"):
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        return f"must be one of {choices}, not {shown(value)}"
    if code == "string_pattern_mismatch":  # every pattern in the models is a name's
        return f"{shown(value)} is not a name; use lower-case letters, digits and -"
    if code in _BOUNDS:
        return f"{_BOUNDS[code].format(**context)}, not {shown(value)}"
    if code in ("too_short", "too_long"):
        most = code == "too_long"
        length = context["max_length" if most else "min_length"]
        entries = "entry" if length == 1 else "entries"
        return f"must have at {'most' if most else 'least'} {length} {entries}"
    if code in _SHAPES:
        return f"must be {_SHAPES[code]}, not {shown(value)}"
    return f"{shown(value)} cannot be used: {message[:1].lower()}{message[1:]}"


_BOUNDS = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
}
_SHAPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "is_instance_of": "of another type",
}
