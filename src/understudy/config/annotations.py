"""How values of the file are read and what forms they may have, as annotations of the models (config.models).

Each says two things of a field at once, so that they cannot part: how a value becomes what it means, and what an editor
is told of it (JSON Schema).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, PlainValidator
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from understudy.config import scalars
from understudy.config.problems import quoted
from understudy.config.scalars import refuse
from understudy.units import Address, Duration, Prefix

_DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?(us|ms|s|m|h|d)$"


def scalar(parse: Callable[[object], Any], **schema: Any) -> Any:
    """Annotation of a value read from text (Any: typing knows no better for annotations that are made)."""
    return (PlainValidator(parse), WithJsonSchema(schema))


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """Annotation of a list: one entry may stand without brackets, if it is of such a kind."""

    kinds: tuple[type, ...] = (object,)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            return [value] if not isinstance(value, list) and isinstance(value, self.kinds) else value

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


@dataclass(frozen=True, slots=True)
class Short:
    """Annotation of a model: the value of one field may stand for the whole."""

    field: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            return value if isinstance(value, dict) else {self.field: value}

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler(schema)
        return {"anyOf": [handler.resolve_ref_schema(whole)["properties"][self.field], whole]}


@dataclass(frozen=True, slots=True)
class Words:
    """Annotation of a model: a word may stand for the whole, where the field of that name alone is true."""

    words: tuple[str, ...]
    hint: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            if isinstance(value, str) and value not in self.words:
                raise refuse("E2116", f"{quoted(value)} is not a word for this", self.hint)
            return {value: "true"} if isinstance(value, str) else value

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(self.words)}, handler(schema)]}


def span(low: Duration, high: Duration, step: Duration = 1) -> Any:
    """Annotation of a duration within limits (Any: see `scalar`)."""
    return scalar(partial(scalars.parse_span, low=low, high=high, step=step), type="string", pattern=_DURATION_PATTERN)


def word(what: str, words: tuple[str, ...]) -> Callable[[object], str]:
    """A parser of one of a few words."""

    def parse(value: object) -> str:
        text = scalars.text_of(value, what)
        if text not in words:
            raise refuse("E2116", f"{quoted(text)} is not a word for this", " or ".join(words))
        return text

    return parse


_NAME_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{scalars.NAME}$"}

Name = Annotated[str, *scalar(scalars.parse_name, **_NAME_SCHEMA)]
IpAddress = Annotated[Address, *scalar(scalars.parse_address, type="string", description="IPv4 or IPv6 address")]
IpPrefix = Annotated[Prefix, *scalar(scalars.parse_prefix, type="string", pattern="^[0-9a-fA-F:.]+/[0-9]{1,3}$")]
BOOLEAN = scalar(scalars.parse_boolean, type="boolean")
Attempts = Annotated[int, *scalar(lambda v: scalars.parse_integer(v, 1, 10), type="integer", minimum=1, maximum=10)]
