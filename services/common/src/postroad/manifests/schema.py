"""
The JSON Schema of the models in the form for CRDs and docs.

Names are camelCase, and defaults have the form that people write. References are inlined and null
is removed, because a structural schema of Kubernetes has neither.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from postroad.manifests.kinds.part import Part
from postroad.units.quantities import format_duration

Schema = Mapping[str, Any]


class _ManifestSchema(GenerateJsonSchema):
    """Writes defaults as in YAML: 15m, not PT15M; of a part only the fields that are set."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return super().encode_default(dft)


@lru_cache
def object_schema(model: type[Part]) -> Schema:
    """Return the schema of a kind's spec, with no reference left in it."""
    schema = model.model_json_schema(schema_generator=_ManifestSchema)
    definitions = schema.pop("$defs", {})
    inlined: Schema = _inline(schema, definitions)
    return inlined


def _inline(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_inline(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    merged = dict(node)
    reference = merged.pop("$ref", None)
    if reference is not None:
        merged = {**definitions[reference.rpartition("/")[2]], **merged}
    options = [each for each in merged.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) == 1:  # `X | None`: YAML leaves the field out for None
        del merged["anyOf"]
        merged = {**options[0], **merged}
        merged.pop("default", None)
        return _inline(merged, definitions)
    if "properties" in merged:
        merged["properties"] = {
            name: _inline(each, definitions) for name, each in merged["properties"].items()
        }
    for name in ("items", "additionalProperties", "anyOf"):
        if name in merged:
            merged[name] = _inline(merged[name], definitions)
    merged.pop("title", None)
    return merged


def properties_at(schema: Schema, path: tuple[str | int, ...]) -> Mapping[str, Schema]:
    """Return the fields of the part at a path; empty when there is none."""
    node: Any = schema
    for step in path:
        node = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        if not isinstance(node, dict):
            return {}
    fields: Mapping[str, Schema] = node.get("properties", {})
    return fields
