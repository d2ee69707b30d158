"""
The models' JSON Schema as CRDs and docs want it: inlined, camelCase, defaults as a person writes.

Structural schemas of Kubernetes have no references and no null; both are resolved here.
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
    """Writes defaults as they are written in YAML: 15m, not PT15M; parts by what they say."""

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
    if len(options) == 1:  # `X | None`: left out is how YAML says None
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
    """Return the fields of the part at a path of names and indexes; empty when there is none."""
    node: Any = schema
    for step in path:
        node = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        if not isinstance(node, dict):
            return {}
    fields: Mapping[str, Schema] = node.get("properties", {})
    return fields
