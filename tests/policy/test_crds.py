"""
The CustomResourceDefinitions: current, structural, with rules that agree with the models.

Another implementation of CEL than the API server's evaluates the rules, with Kubernetes' own
functions written here. `test_crds_server` runs the same cases on a real API server.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cel
import pytest
from ruamel.yaml import YAML

from postroad.manifests.cel import milliseconds
from postroad.manifests.generate.crd import custom_resource_definition, object_with_status, template
from postroad.manifests.generate.crd_status import CONDITIONS, NAMES
from postroad.manifests.objects import Declared, Kind
from postroad.manifests.reader import read_object
from postroad.units.quantities import parse_duration

ROOT = Path(__file__).parents[2]
OBJECTS = YAML(typ="safe").load(Path(__file__).with_name("objects.yaml"))
EXAMPLES = [
    each
    for path in sorted((ROOT / "docs" / "examples").glob("*.yaml"))
    for each in YAML(typ="safe").load_all(path)
    if each["kind"] in set(Kind)
]

Schema = Mapping[str, Any]
Finding = tuple[str, str]


def named(case: Mapping[str, Any]) -> str:
    return f"{case['kind']}-{case.get('at', '')}"


# Freshness and shape


@pytest.mark.parametrize("kind", NAMES)
def test_the_chart_has_the_definitions_of_the_models(kind: Kind) -> None:
    path = ROOT / "charts" / "postroad" / "templates" / f"crd-{NAMES[kind].plural}.yaml"
    assert path.read_text(encoding="utf-8") == template(kind), "write it again: make crds"


@pytest.mark.parametrize("kind", NAMES)
def test_a_template_is_the_definition_and_what_the_chart_decides(kind: Kind) -> None:
    lines = template(kind).splitlines()
    assert "{{- if .Values.crds.enabled }}" in lines
    assert "    helm.sh/resource-policy: keep" in lines
    plain = [line for line in lines if not line.lstrip().startswith("{{-")]
    found = YAML(typ="safe").load("\n".join(plain).replace('{{ "{{" }}', "{{"))
    del found["metadata"]["labels"], found["metadata"]["annotations"]
    assert found == custom_resource_definition(kind)


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}".lstrip("."))
    for inside in ("items", "additionalProperties"):
        if inside in schema:
            yield from nodes(schema[inside], f"{path}[]")


KNOWN = {
    *("type", "format", "description", "enum", "default", "pattern", "required", "properties"),
    *("items", "additionalProperties", "minItems", "maxItems", "maxProperties"),
    *("minLength", "maxLength", "minimum", "maximum"),
    *("x-kubernetes-int-or-string", "x-kubernetes-validations", "x-kubernetes-list-type"),
    *("x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields"),
}
BOUNDS = {
    "string": {"maxLength", "enum", "format"},
    "array": {"maxItems"},
    "integer": {"maximum", "minimum"},
    "number": {"maximum"},
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_schema_is_structural_and_everything_in_it_is_bounded(kind: Kind) -> None:
    for path, node in nodes(object_with_status(kind)):
        assert set(node) <= KNOWN, path
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
        assert not {"properties", "additionalProperties"} <= set(node), path
        assert set(node.get("required", ())) <= set(node.get("properties", {})), path
        if path not in ("apiVersion", "kind"):
            bounds = BOUNDS.get(node.get("type", ""))
            assert bounds is None or bounds & set(node), path
        assert "additionalProperties" not in node or "maxProperties" in node, path


@pytest.mark.parametrize("kind", NAMES)
def test_every_field_says_what_it_means(kind: Kind) -> None:
    for path, node in nodes(object_with_status(kind)):
        for name, field in node.get("properties", {}).items():
            assert name == "metadata" or len(field["description"]) > 8, f"{path}.{name}"


@pytest.mark.parametrize("kind", NAMES)
def test_defaults_and_the_fields_of_rules_are_what_the_schema_has(kind: Kind) -> None:
    for path, node in nodes(object_with_status(kind)):
        if "default" in node:
            assert not refusals(node, node["default"]), path
        for rule in node.get("x-kubernetes-validations", ()):
            assert len(rule["message"]) > 8
            field: Any = node
            for step in rule.get("fieldPath", "").split(".")[1:]:
                field = field["properties"][step]


def test_conditions_are_a_map_by_type() -> None:
    for kind in NAMES:
        conditions = object_with_status(kind)["properties"]["status"]["properties"]["conditions"]
        assert conditions["x-kubernetes-list-map-keys"] == ["type"]
        for name in CONDITIONS[kind]:
            assert f"{name}: " in conditions["items"]["properties"]["type"]["description"]


# What is refused: as much of an API server as that needs


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and getattr(address, "ipv4_mapped", None) is None


def _is_network(text: str) -> bool:
    address, slash, length = text.partition("/")
    return slash == "/" and _is_address(address) and length.isdigit()


def _find(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match[0] if match else ""


# The functions that Kubernetes adds to CEL and the rules use.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lowerAscii": str.lower,
    "replace": str.replace,
    "substring": lambda text, start, end: text[start:end],
    "find": _find,
    "findAll": lambda text, pattern: [match[0] for match in re.finditer(pattern, text)],
    "sum": lambda values: float(sum(values)),
    "isIP": _is_address,
    "ip": str,
    "isLoopback": lambda text: ipaddress.ip_address(text).is_loopback,
    "isCIDR": _is_network,
    "cidr": str,
    "masked": lambda text: str(ipaddress.ip_network(text, strict=False)),
}


def for_cel(value: Any) -> Any:
    """Return a value with the words of CEL among its fields escaped, as the API server does."""
    if isinstance(value, Mapping):
        return {
            "__namespace__" if name == "namespace" else name: for_cel(each)
            for name, each in value.items()
        }
    return [for_cel(each) for each in value] if isinstance(value, list) else value


def evaluate(rule: str, value: Any, old: Any = None) -> Any:
    context = cel.Context({"self": for_cel(value), "oldSelf": for_cel(old)}, FUNCTIONS)
    return cel.evaluate(rule, context)


def with_defaults(schema: Schema, value: Any) -> Any:
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = dict(value)
    for name, field in schema.get("properties", {}).items():
        if name in found or "default" in field:
            found[name] = with_defaults(field, found.get(name, field.get("default")))
    return found


def refusals(schema: Schema, value: Any, old: Any = None) -> list[Finding]:
    """Return the field and message of all that is refused in a value with its defaults."""
    found = [each for part in parts(schema, value, "spec") for each in _wrong_shape(*part)]
    if any(message.startswith(BLOCKING) for _, message in found):
        return found
    return found + [each for part in parts(schema, value, "spec") for each in _broken(*part, old)]


def parts(schema: Schema, value: Any, path: str) -> Iterator[tuple[Schema, Any, str]]:
    yield schema, value, path
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from parts(schema["items"], each, f"{path}[{index}]")
    if isinstance(value, Mapping) and "x-kubernetes-preserve-unknown-fields" not in schema:
        for name, each in value.items():
            field = schema.get("properties", {}).get(name) or schema["additionalProperties"]
            yield from parts(field, each, f"{path}.{name}")


def _broken(schema: Schema, value: Any, path: str, old: Any) -> Iterator[Finding]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if old is None and "oldSelf" in rule["rule"]:
            continue
        if evaluate(rule["rule"], value, old) is not True:
            detail = rule.get("messageExpression")
            message = evaluate(detail, value, old) if detail else rule["message"]
            yield f"{path}{rule.get('fieldPath', '')}", message


# The API server tries no rules on an object with one of these.
BLOCKING = ("must be of type", "Required", "Too long", "Too many", "supported values")
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "": (int, str),
}
LIMITS: dict[str, tuple[type, Callable[[Any, Any], object], str]] = {
    "maxLength": (str, lambda value, most: len(value) <= most, "Too long"),
    "pattern": (str, lambda value, pattern: re.search(pattern, value), "should match"),
    "maxItems": (list, lambda value, most: len(value) <= most, "Too many"),
    "minItems": (list, lambda value, least: len(value) >= least, "should have at least {} items"),
    "minimum": (float, lambda value, least: value >= least, "greater than or equal to {}"),
    "maximum": (float, lambda value, most: value <= most, "less than or equal to {}"),
}


def _wrong_shape(schema: Schema, value: Any, path: str) -> Iterator[Finding]:
    kind = schema.get("type", "")
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield path, f"must be of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(f'"{each}"' for each in schema["enum"])
        yield path, f"supported values: {choices}"
    of = float if isinstance(value, int) else type(value)
    for word, (applies_to, holds, message) in LIMITS.items():
        if word in schema and applies_to is of and not holds(value, schema[word]):
            yield path, message.format(f"{schema[word]:g}" if of is float else schema[word])
    if isinstance(value, Mapping):
        lacking = [name for name in schema.get("required", ()) if name not in value]
        yield from ((f"{path}.{name}", "Required value") for name in lacking)


def api_server(kind: str, spec: Any, old: Any = None) -> list[Finding]:
    schema = object_with_status(Kind(kind))["properties"]["spec"]
    before = with_defaults(schema, old) if old else None
    return refusals(schema, with_defaults(schema, spec), before)


def read(kind: str, spec: Any) -> Declared:
    head = {"apiVersion": "postroad.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}}
    found = read_object({**head, "spec": spec})
    assert isinstance(found, Declared)
    return found


@pytest.mark.parametrize("case", OBJECTS["refused"], ids=named)
def test_a_wrong_object_is_refused_by_the_schema_as_by_the_models(case: Mapping[str, Any]) -> None:
    found = api_server(case["kind"], case["spec"])
    assert [message for field, message in found if field == case["at"] and case["says"] in message]
    assert read(case["kind"], case["spec"]).problems


@pytest.mark.parametrize("case", OBJECTS["taken"] + EXAMPLES, ids=named)
def test_a_right_object_is_taken_by_both(case: Mapping[str, Any]) -> None:
    assert api_server(case["kind"], case["spec"]) == []
    assert not read(case["kind"], case["spec"]).problems


@pytest.mark.parametrize("case", OBJECTS["told_later"], ids=named)
def test_what_no_schema_can_tell_is_left_to_the_operator(case: Mapping[str, Any]) -> None:
    assert api_server(case["kind"], case["spec"]) == []
    assert read(case["kind"], case["spec"]).problems


@pytest.mark.parametrize("case", OBJECTS["refused_by_api_server_alone"], ids=named)
def test_kubernetes_knows_fewer_forms_of_addresses(case: Mapping[str, Any]) -> None:
    assert [field for field, _ in api_server(case["kind"], case["spec"])] == [case["at"]]
    assert not read(case["kind"], case["spec"]).problems


@pytest.mark.parametrize("case", OBJECTS["taken"] + EXAMPLES, ids=named)
def test_the_defaults_that_are_written_change_nothing(case: Mapping[str, Any]) -> None:
    schema = object_with_status(Kind(case["kind"]))["properties"]["spec"]
    whole = with_defaults(schema, case["spec"])
    assert read(case["kind"], whole) == read(case["kind"], case["spec"])


def test_a_domain_keeps_its_name() -> None:
    old = {"domain": "a.example", "send": {}}
    assert api_server("Domain", {**old, "send": {"relayRef": {"name": "a"}}}, old) == []
    ((field, message),) = api_server("Domain", {**old, "domain": "b.example"}, old)
    assert field == "spec.domain"
    assert message.startswith("cannot be changed; make another Domain")


@pytest.mark.parametrize(
    "text", ["0", "0s", "250ms", "1.5s", "90s", "15m", "1h30m", "5d", "1d12h", "0.5d1d", "31d"]
)
def test_a_duration_in_a_rule_is_that_of_the_product(text: str) -> None:
    assert evaluate(milliseconds("self"), text) == parse_duration(text).total_seconds() * 1000
