"""What every part of a manifest is, and how rules across its fields are told."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from postroad.manifests.cel import CelRule, with_rules


class Part(BaseModel):
    """Base of everything in a manifest: camelCase in YAML, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    api_rules: ClassVar[tuple[CelRule, ...]] = ()
    """What the part's validators say, for the API server."""

    @classmethod
    def at_odds(cls, given: Mapping[str, object]) -> Iterator[PydanticCustomError]:
        """
        Yield what is wrong with which fields are given, whatever stands in them.

        Validators across fields are asked only where each field is right; asked beside them, this
        tells all mistakes at once.
        """
        yield from ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(schema)
        definition = handler.resolve_ref_schema(reference)
        definition.update(with_rules(definition, *cls.api_rules))
        return reference


def broken_rule(field: str, message: str) -> PydanticCustomError:
    """Return the error of a rule across fields, to be shown at `field` (dotted) of the part."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})
