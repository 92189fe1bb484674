"""The reports of one recorded drill, as texts to read: terminal, HTML page, SVG, in English and Korean.

`UNDERSTUDY_GOLDEN_UPDATE=1 pytest tests/drill/test_drill_report.py` writes the expected files anew: read the
difference before you commit it. `drill.json` is a real result of `understudy drill examples/pair.yaml --runs 3`.
"""

import io
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from understudy.drill import page, picture, terminal
from understudy.drill.phrases import LANGUAGES, speaker
from understudy.drill.result import DrillJson, median_run

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def drill() -> DrillJson:
    recorded: DrillJson = json.loads((GOLDEN / "drill.json").read_text())
    return recorded


def agree(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        path.write_text(text)
    assert text == path.read_text()


def drawing(drill: DrillJson) -> str:
    run = median_run(drill)
    assert run is not None
    return picture.standalone(picture.timeline(drill, run, speaker("en")))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_terminal_report_reads_as_expected(drill: DrillJson, language: str) -> None:
    """Table, timeline, causes, verdict, without colour as in a pipe."""
    out = io.StringIO()
    terminal.show(Console(file=out, width=140, no_color=True, highlight=False, soft_wrap=True), drill, language)
    agree(f"report.{language}.txt", re.sub(r" +\n", "\n", out.getvalue()))


def test_the_page_reads_as_expected(drill: DrillJson) -> None:
    """Every byte of it, so that a change of the report is seen in the commit."""
    agree("report.html", page.render([drill]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_from_anywhere(drill: DrillJson, language: str) -> None:
    """No script, no request: the only addresses in it are names of XML dialects."""
    text = page.render([drill, drill], language)
    assert set(re.findall(r"https?://[^\"' >]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script|<link|@import|url\((?!#)", text)


def test_the_drawing_is_well_formed_and_carries_its_own_colours(drill: DrillJson) -> None:
    """It works as a file of its own, in light and dark."""
    text = drawing(drill)
    ElementTree.fromstring(text)  # our own text
    used = set(re.findall(r"var\((--[a-z-]+)\)", text))
    for palette in (picture.PALETTE, picture.PALETTE_DARK):
        assert used <= set(re.findall(r"(--[a-z-]+):", palette))


def test_the_gap_is_drawn_to_scale_and_labelled(drill: DrillJson) -> None:
    """The red box is as long as the silence, and its label says how long that is."""
    run = median_run(drill)
    assert run is not None
    strip = run["trace"]["strips"][0]
    silence = strip["silences"][0]
    scale = picture.Scale(run["trace"]["start_ms"], run["trace"]["end_ms"])
    width = round(scale(silence["end_ms"]) - scale(silence["start_ms"]), 2)
    assert f'width="{width}" height="20"' in drawing(drill)
    assert f">{strip['outage_ms']:.0f} ms</text>" in drawing(drill)


def test_what_the_file_calls_things_cannot_break_the_page(drill: DrillJson) -> None:
    """Names and reasons are text, not markup."""
    drill["cluster"] = "<script>alert(1)</script>"
    drill["runs"][0]["findings"] = ["<b>&"]
    text = page.render([drill])
    assert "<script" not in text
    assert "&lt;b&gt;&amp;" in text


def test_the_median_run_is_one_that_happened(drill: DrillJson) -> None:
    """By nearest rank, so of three runs the second."""
    run = median_run(drill)
    assert run is not None
    assert run["outage_ms"] == drill["summary"]["p50"]


def test_a_drill_without_a_valid_run_still_reports(drill: DrillJson) -> None:
    """Only the verdict is left, with its reason."""
    drill["runs"] = []
    drill["verdict"] = {"passed": False, "reasons": ["only 0 of 3 runs are valid (3 were void)"]}
    assert "only 0 of 3" in page.render([drill])
    out = io.StringIO()
    terminal.show(Console(file=out, width=140, no_color=True), drill)
    assert "only 0 of 3" in out.getvalue()
