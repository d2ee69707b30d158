"""docs/resources.md agrees with the models, and every field has a description."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.manifests.generate.docs import page
from postroad.manifests.objects import Kind
from postroad.manifests.reader import SPECS
from postroad.manifests.schema import Schema, object_schema


def test_the_page_is_fresh() -> None:
    written = (Path(__file__).parents[2] / "docs" / "resources.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: make docs"


def fields(schema: Schema, path: str = "spec") -> Iterator[tuple[str, Schema]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field.get("items", field), f"{path}.{name}")


@pytest.mark.parametrize("kind", SPECS)
def test_every_field_has_a_type_a_description_and_a_camel_case_name(kind: Kind) -> None:
    for path, field in fields(object_schema(SPECS[kind])):
        assert field.get("description"), path
        assert "type" in field or "x-kubernetes-int-or-string" in field, path
        assert "_" not in path
        assert "$ref" not in field
        assert field.get("default", 0) is not None, path


def test_defaults_are_written_as_people_write_them() -> None:
    retry = object_schema(SPECS[Kind.RELAY])["properties"]["retry"]["properties"]
    assert [retry[name]["default"] for name in ("first", "max", "lifetime")] == ["15m", "4h", "5d"]
