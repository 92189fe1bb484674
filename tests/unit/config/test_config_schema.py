"""The JSON Schema for editors: current, valid, and of one mind with the loader on the examples."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from understudy.config.schema import schema_text

ROOT = Path(__file__).parents[3]
SCHEMA: dict[str, Any] = json.loads(schema_text())


def test_the_schema_in_the_repository_is_current() -> None:
    """`python -m understudy.config.schema` writes it anew."""
    assert (ROOT / "schema" / "understudy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_a_schema() -> None:
    """It is valid JSON Schema 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples(path: Path) -> None:
    """What the loader accepts, an editor must not underline."""
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [
        {"clutser": "x"},
        {"cluster": "Shop"},
        {"networks": {}},
        {"networks": {"Inside": "10.0.0.0/24"}},
        {"networks": {"inside": "10.0.0.0"}},
        {"redundancy": {"edge": {"nodes": ["a", "b"], "addresses": {"inside": "10.0.0.9"}, "vrid": 300}}},
        {"redundancy": {"edge": {"nodes": ["a", "b"], "addresses": {"inside": "10.0.0.9"}, "advertise": 100}}},
        {"redundancy": {"edge": {"nodes": ["a", "b"], "addresses": {"inside": "10.0.0.9"}, "mode": "active-active"}}},
        {"services": {"web": {"listen": "10.0.0.9:80", "servers": []}}},
        {"services": {"web": {"listen": "10.0.0.9:80", "servers": ["a:1"], "check": "https"}}},
        {"nat": [{"from": "edge.ios", "state": "copied"}]},
        {"objectives": {"web": {"recovery_point": "5m"}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_shape_alone_can_tell(change: dict[str, Any]) -> None:
    """Unknown keys, bad names, ranges and words are underlined while one types."""
    good = {"cluster": "shop", "networks": {"inside": "10.0.0.0/24"}, "nodes": {"a": {"inside": "10.0.0.1"}}}
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, **change})
