"""JSON Schema of the file, for editors: generated from the models, so that it cannot say anything else.

A schema knows shapes, words and ranges. What it cannot know (an address outside its network) is left to `understudy
check`. `python -m understudy.config.schema` writes `schema/understudy.schema.json` of a checkout; a test keeps that
file current.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from understudy.config.models import FileModel
from understudy.units import format_duration

FILE_NAME = "understudy.schema.json"


def schema_text() -> str:
    """The schema as the text of its file."""
    return json.dumps(file_schema(), indent=2, ensure_ascii=False) + "\n"


def file_schema() -> dict[str, Any]:
    """The schema, in JSON Schema 2020-12 (Any: it is JSON)."""
    generated = FileModel.model_json_schema()
    definitions = {name.removesuffix("Model").lower(): node for name, node in generated.pop("$defs").items()}
    schema: dict[str, Any] = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "The file of Understudy",
        **_tidy(generated),
    }
    schema["$defs"] = {name: _tidy(node) for name, node in sorted(definitions.items())}
    return schema


def _tidy(node: Any) -> Any:
    """The schema without what only pydantic's generator cares for, and with defaults as one would write them."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied: dict[str, Any] = {}
    for key, value in node.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "properties":
            tidied[key] = {name: _tidy(property_) for name, property_ in value.items()}
        elif key == "default":
            if value not in (None, [], {}) and not isinstance(value, dict):
                tidied[key] = _written(node, value)
        elif key == "$ref":
            tidied[key] = "#/$defs/" + value.rsplit("/", 1)[-1].removesuffix("Model").lower()
        else:
            tidied[key] = _tidy(value)
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False  # a key that is no name
    return tidied


def _written(node: dict[str, Any], value: Any) -> Any:
    """A default in the words of the file: durations are counted in nanoseconds inside."""
    if node.get("type") == "string" and isinstance(value, int) and not isinstance(value, bool):
        return format_duration(value)
    return value


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else f"schema/{FILE_NAME}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(schema_text(), encoding="utf-8")
