"""The base class of all parts of a manifest, and the errors of rules across fields."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from postroad.manifests.cel import CelRule, with_rules


class Part(BaseModel):
    """The base of all models: camelCase in YAML, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    api_rules: ClassVar[tuple[CelRule, ...]] = ()
    """The part's validators as CEL rules, for the API server."""

    @classmethod
    def at_odds(cls, given: Mapping[str, object]) -> Iterator[PydanticCustomError]:
        """
        Yield errors about fields that must not be given together, whatever their values are.

        Pydantic calls validators across fields only when every field is valid. This method is
        called in any case, so that all mistakes are reported together.
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
    """Return the error of a rule across fields, reported at `field` (dotted) of the part."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})
