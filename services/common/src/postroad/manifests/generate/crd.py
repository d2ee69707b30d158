"""
Writes the CustomResourceDefinitions from the models: `python -Im postroad.manifests.generate.crd`.

The JSON Schema of the models becomes a structural schema of Kubernetes: without references, null
and extra keys, and with CEL rules (see `manifests.cel`) across fields and for the forms of texts.
So the API server itself refuses a wrong object and says what to do. The operator has to report only
what no schema can check. Planned fields are in the schema so that the API server refuses them. It
reports unknown fields only to clients that ask for strict validation, such as kubectl, and drops
them for others; a rule about mail must not be dropped silently.

The rules need Kubernetes 1.31 or newer, for the IP address functions in CEL.

The files are templates of the chart, so that an upgrade of the chart upgrades them. With
`crds.keep`, uninstalling the chart leaves them and all objects in place. A test compares the
committed files with the output.
"""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from postroad.manifests.generate.crd_status import COLUMNS, NAMES, PrinterColumn, status_schema
from postroad.manifests.mistakes import PLANNED_FIELDS
from postroad.manifests.objects import GROUP, VERSION, Kind
from postroad.manifests.reader import SPECS
from postroad.manifests.schema import Schema, object_schema

CATEGORY = "postroad"

# The keywords of a structural schema that the models use; all others are for docs/resources.md.
_KEPT = frozenset(
    {"type", "enum", "minLength", "maxLength", "minimum", "maximum"}
    | {"minItems", "maxItems", "maxProperties", "required"}
    | {"x-kubernetes-int-or-string", "x-kubernetes-validations"}
)
_LARGEST_INT32 = 2**31 - 1
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# The types of planned fields, so that their values get to the rule that refuses them.
_PLANNED_TYPES: Mapping[str, Schema] = {
    "spec.send.dkim": {"type": "array", "maxItems": 64, "items": _ANYTHING},
    "spec.send.bounceDomain": {"type": "string", "maxLength": 253},
    "spec.egress.proxy": {"type": "string", "maxLength": 1024},
}

_HEAD = """\
{{- /* Made by `make crds` from the models of the manifests; change those, not this file. */ -}}
{{- if .Values.crds.enabled }}
"""
_LABELS = """\
  labels:
    {{- include "postroad.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""
_TAIL = "{{- end }}\n"


def custom_resource_definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind, without labels."""
    names = NAMES[kind]
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(each) for each in COLUMNS[kind]],
        "schema": {"openAPIV3Schema": object_with_status(kind)},
    }
    if kind is Kind.DOMAIN:
        version["selectableFields"] = [{"jsonPath": ".spec.domain"}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": str(kind),
                "listKind": f"{kind}List",
                "plural": names.plural,
                "singular": str(kind).lower(),
                "shortNames": [names.short],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def object_with_status(kind: Kind) -> dict[str, Any]:
    """Return the structural schema of a whole object."""
    spec = _structural(object_schema(SPECS[kind]))
    for path, advice in PLANNED_FIELDS[kind].items():
        _add_planned(spec, path, advice)
    return {
        "type": "object",
        "description": spec["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": _text(f"Group and version: {GROUP}/{VERSION}."),
            "kind": _text(f"The kind: {kind}."),
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status_schema(kind),
        },
    }


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _structural(schema: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "description" in schema:
        found["description"] = _description(schema)
    found |= {word: value for word, value in schema.items() if word in _KEPT}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if schema.get("type") == "integer":
        found["format"] = "int64" if schema["maximum"] > _LARGEST_INT32 else "int32"
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping):
        found["additionalProperties"] = _structural(values)
    if "x-kubernetes-int-or-string" in schema:
        found["pattern"] = schema["pattern"]
    # An empty list or mapping as default means the same as none.
    if default := _whole_default(schema):
        found["default"] = default
    if "items" in schema:
        found["items"] = _structural(schema["items"])
    if "properties" in schema:
        fields = schema["properties"].items()
        found["properties"] = {name: _structural(field) for name, field in fields}
    return found


def _whole_default(schema: Schema) -> Any:
    """Return a default that includes the inner fields' defaults, which rules on it need."""
    default = schema.get("default")
    if not isinstance(default, Mapping):
        return default
    fields = schema.get("properties", {}).items()
    inside = {name: _whole_default(field) for name, field in fields}
    return {
        **{name: each for name, each in inside.items() if each not in (None, [], {})},
        **default,
    }


def _description(schema: Schema) -> str:
    said = " ".join(str(schema["description"]).split())
    bounds = schema.get("x-postroad-bounds")
    return f"{said} A {schema['x-postroad-written']}, {bounds}." if bounds else said


def _add_planned(spec: dict[str, Any], path: str, advice: str) -> None:
    *parents, name = path.split(".")[1:]
    node = spec
    for parent in parents:
        node = node["properties"][parent]
    node["properties"][name] = {
        "description": f"Not supported yet, and refused: {advice}.",
        **_PLANNED_TYPES.get(path, _ANYTHING),
        "x-kubernetes-validations": [
            {"rule": "false", "message": f"is not supported yet; remove it ({advice})"}
        ],
    }


def _column(column: PrinterColumn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return {**found, "priority": 1} if column.wide else found


def template(kind: Kind) -> str:
    """Return the CustomResourceDefinition as a template of the chart."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 10_000  # each rule and description is on one line
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(custom_resource_definition(kind), text)
    # Braces in a description or a rule must not be read as a template's action.
    plain = text.getvalue().replace("{{", '{{ "{{" }}')
    metadata, spec, rest = plain.partition("spec:\n")
    return f"{_HEAD}{metadata}{_LABELS}{spec}{rest}{_TAIL}"


def main(arguments: Sequence[str]) -> None:
    """Write the templates into the named folder, else to standard output."""
    for kind, names in NAMES.items():
        if arguments:
            Path(arguments[0], f"crd-{names.plural}.yaml").write_text(template(kind), "utf-8")
        else:
            sys.stdout.write(template(kind))


if __name__ == "__main__":
    main(sys.argv[1:])
