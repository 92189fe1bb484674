"""The page of error codes: every code that is raised stands there once, and every one there is raised."""

import ast
import os
import re
from pathlib import Path

import understudy
from understudy.config.codes import CODES

SOURCES = Path(understudy.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"
TABLES = {"codes.py", "korean.py"}
"""Files that list codes and raise none."""
CODE = re.compile(r"(E\d{4})(?: |$)")


def raised(root: Path) -> set[str]:
    """What is, or begins, a text of the code. Who has none of its own gets it from a constant."""
    return {
        match[1]
        for path in sorted(root.rglob("*.py"))
        if path.name not in TABLES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := CODE.match(node.value))
    }


def listed() -> list[str]:
    return re.findall(r"^\| (E\d{4}) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_page_lists_what_is_raised_and_nothing_else() -> None:
    """In order, each once. A new code needs a row, and a code that nobody raises any more none."""
    found = listed()
    assert found == sorted(set(found))
    assert set(found) ^ raised(SOURCES) == set()


def test_the_page_has_the_sentences_of_the_files_codes() -> None:
    """Between the marks; UNDERSTUDY_GOLDEN_UPDATE=1 writes them anew."""
    rows = "".join(f"| {code} | {sentence} |\n" for code, sentence in CODES.items())
    table = f"<!-- file -->\n| code | what it says |\n|---|---|\n{rows}<!-- /file -->"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        text = re.sub(r"<!-- file -->.*<!-- /file -->", lambda _: table, PAGE.read_text(), flags=re.DOTALL)
        PAGE.write_text(text, encoding="utf-8")
    assert table in PAGE.read_text(encoding="utf-8")


def test_a_code_is_found_wherever_it_is_raised(tmp_path: Path) -> None:
    """The control: as an argument, as a constant, before a sentence; not in a table, and no longer number."""
    (tmp_path / "one.py").write_text('raise E("E1001", "x")\nNAME = "E1002"\nwrite(f"E1003 {error}")\n"E10040"\n')
    (tmp_path / "codes.py").write_text('CODES = {"E1005": "x"}\n')
    assert raised(tmp_path) == {"E1001", "E1002", "E1003"}
