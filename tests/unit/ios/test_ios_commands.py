"""`understudy nat check`, `print` and `parse-show` as people call them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from understudy.cli.app import app

GOLDEN = Path(__file__).parents[2] / "golden" / "ios"
GATEWAY = """interface g0/0
 ip address 10.0.0.1 255.255.255.0
 ip nat inside
interface g0/1
 ip address 203.0.113.1 255.255.255.0
 ip nat outside
access-list 1 permit 10.0.0.0 0.0.0.255
ip nat inside source list 1 interface g0/1 overload
"""


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["nat", *arguments], input=text)


def document(result: Result, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["schema"] == schema
    return found


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("", 0),
        ("ip nat inside source static 10.0.0.5 203.0.113.5\n", 0),
        ("ip nat inside source static 10.0.0.5 203.0.113.5 redundancy HSRP\n", 2),
        ("ip nat inside source list 7 interface g0/1 overload\n", 2),
        ("ip nat inside sorce static 10.0.0.5 203.0.113.5\n", 1),
    ],
)
def test_the_exit_code_tells_fine_warned_and_refused(more: str, code: int) -> None:
    """0, 2 and 1, from standard input too."""
    assert run("check", "-", text=GATEWAY + more).exit_code == code


def test_every_line_stands_in_the_document() -> None:
    """With the names that scripts rely on, and the counts of what they say."""
    found = document(run("check", str(GOLDEN / "refused.ios"), "--json"), "understudy.nat.check/1")
    assert {"line", "text", "kind", "fidelity", "reason", "rule", "column", "fault", "ios_message"} <= set(
        found["lines"][0]
    )
    assert len(found["lines"]) == len((GOLDEN / "refused.ios").read_text().splitlines())
    for kind in ("nat", "passed-over", "refused"):
        assert found["counts"][kind] == sum(line["kind"] == kind for line in found["lines"])
    sorce = next(line for line in found["lines"] if "sorce" in line["text"])
    assert (sorce["column"], sorce["ios_message"]) == (15, "% Invalid input detected at '^' marker.")
    assert (sorce["fidelity"], found["template"]) == ("refused", False)


def test_a_template_is_said_to_be_one() -> None:
    """Beside every line that is to be filled in."""
    found = document(run("check", str(GOLDEN / "template.ios"), "--json"), "understudy.nat.check/1")
    assert found["template"] is True
    assert found["counts"]["refused-placeholder"] == found["counts"]["refused"]


def test_the_words_can_be_korean() -> None:
    """By option or by the environment; names, codes and the router's messages stay."""
    korean = run("check", "-", "--lang", "ko", text=GATEWAY)
    assert "프로파일 안에서 동일" in korean.stdout
    assert "[overload-classic]" in korean.stdout
    environment = CliRunner(env={"UNDERSTUDY_LANG": "ko"}).invoke(app, ["nat", "check", "-"], input=GATEWAY)
    assert environment.stdout == korean.stdout
    found = document(
        run("check", "-", "--lang", "ko", "--json", text="ip nat inside source list 1 pool P\n"),
        "understudy.nat.check/1",
    )
    assert (found["lines"][0]["kind_said"], found["lines"][0]["fidelity_said"]) == ("NAT", "동일")
    assert "풀 P" in json.dumps(found["warnings"], ensure_ascii=False)
    assert run("check", "-", "--lang", "tlh", text=GATEWAY).exit_code == 1


def test_the_profile_is_asked_for_by_name() -> None:
    """Another one gives another word; one that nobody knows is an error."""
    found = document(run("check", "-", "--profile", "ios-xe-modern", "--json", text=GATEWAY), "understudy.nat.check/1")
    assert found["lines"][-1]["rule"] == "overload-counted"
    assert run("check", "-", "--profile", "ios-xr", text=GATEWAY).exit_code == 1


def test_print_writes_the_canonical_form_or_nothing() -> None:
    """A refused line, and not even half of the rest is written."""
    good = run("print", str(GOLDEN / "session.ios"))
    assert (good.exit_code, good.stdout) == (0, (GOLDEN / "session.canonical").read_text())
    bad = run("print", str(GOLDEN / "refused.ios"))
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert ":9:15: 'sorce'" in bad.stderr


def test_a_show_output_becomes_a_table_or_a_document() -> None:
    """The same rows either way."""
    text = "Pro Inside global Inside local Outside local Outside global\ntcp 203.0.113.1:5 10.0.0.1:5 --- ---\n"
    assert "203.0.113.1:5" in run("parse-show", "-", text=text).stdout
    found = document(run("parse-show", "-", "--json", text=text), "understudy.nat.show/1")
    assert found["rows"][0]["inside_local"] == {"address": "10.0.0.1", "port": 5}


@pytest.mark.parametrize("command", ["check", "print", "parse-show"])
def test_a_file_that_is_not_there_is_an_error_with_a_code(command: str) -> None:
    """And no traceback."""
    result = run(command, "/nowhere/at/all.ios")
    assert result.exit_code == 1
    assert result.stderr.startswith("E7106 ")
