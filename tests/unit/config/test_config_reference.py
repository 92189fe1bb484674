"""The reference page says what the code does: every key, every default, every code, and examples that pass."""

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from understudy.config import load_plan, models
from understudy.config.codes import CODES
from understudy.config.models import FileModel

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "file.md"
MODELS = [
    model
    for model in vars(models).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.model_fields
]
KEYS = sorted({(model.__name__, field.alias or key) for model in MODELS for key, field in model.model_fields.items()})


def text() -> str:
    """The page."""
    return PAGE.read_text(encoding="utf-8")


def test_the_page_lists_every_code_with_its_sentence() -> None:
    """The table between the marks is that of the code; UNDERSTUDY_GOLDEN_UPDATE=1 writes it anew."""
    rows = "".join(f"| {code} | {sentence} |\n" for code, sentence in CODES.items())
    table = f"<!-- codes -->\n| code | what it says |\n|---|---|\n{rows}<!-- /codes -->"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        PAGE.write_text(re.sub(r"<!-- codes -->.*<!-- /codes -->", table, text(), flags=re.DOTALL), encoding="utf-8")
    assert table in text()


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_the_page_explains_every_key(model: str, key: str) -> None:
    """A section for each key of the file, a row for each key below it."""
    assert f"### `{key}`" in text() if model == FileModel.__name__ else f"\n| `{key}` |" in text()


def test_the_examples_of_the_page_pass_every_check() -> None:
    """What is shown, works."""
    examples = re.findall(r"```yaml\n(.*?)```", text(), flags=re.DOTALL)
    assert examples
    for example in examples:
        assert load_plan(example.encode()).nodes


def test_the_page_names_the_limits_of_the_models() -> None:
    """Each figure of the table of limits is that of the code."""
    for limit in (
        models.NETWORKS_MAX,
        models.NODES_MAX,
        models.GROUPS_MAX,
        models.SERVICES_MAX,
        models.SERVERS_MAX,
        models.ADDRESSES_MAX,
        models.BINDINGS_MAX,
    ):
        shown = f"{limit:,}".replace(",", " ") if limit >= 10_000 else str(limit)
        assert re.search(rf"^\| .* \| {shown}\b.*\|$", text(), flags=re.MULTILINE), shown
