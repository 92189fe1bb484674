"""The pages: links lead somewhere, and a whole cluster file on them passes every check."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from understudy.cli.app import app

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("README*.md"), ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Relative links of the page to what is not there."""
    found = []
    for link in LINK.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file of the tree, and to a heading if it names one."""
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """The control."""
    page = tmp_path / "page.md"
    page.write_text("# A head, line\n[a](page.md#a-head-line) [b](gone.md) [c](#nowhere) [d](https://example.org/x)\n")
    assert broken(page) == ["gone.md", "#nowhere"]


def clusters() -> list[tuple[str, str]]:
    """Every block of YAML that is a whole file, with where it stands."""
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), flags=re.S | re.M), 1):
            if re.search(r"^cluster:", block, flags=re.MULTILINE):
                found.append((f"{named(page)}-{number}", block))
    return found


@pytest.mark.parametrize("block", [text for _, text in clusters()], ids=[name for name, _ in clusters()])
def test_every_cluster_file_that_is_shown_passes_every_check(block: str, tmp_path: Path) -> None:
    """By the command that its reader would use."""
    file = tmp_path / "cluster.yaml"
    file.write_text(block, encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0, result.output


def test_there_are_files_to_check() -> None:
    """The control: on more than one page."""
    assert len({name.rpartition("-")[0] for name, _ in clusters()}) >= 3
