"""The commands speak Korean to people, and lose nothing where a sentence has no translation."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.cli.korean import CELLS, SENTENCES, TITLES, cell, sentence, speaker
from understudy.cli.output import LANGUAGE_VARIABLE
from understudy.cli.status import COLUMNS, judge, quick, render

PAIR = str(Path(__file__).parents[3] / "examples" / "pair.yaml")
COMMANDS = (["status"], ["flows"], ["switchover"], ["waive"], ["maintenance", "on"], ["reload", PAIR], ["apply", PAIR])


def node(name: str, role: str, **changes: Any) -> dict[str, Any]:
    """A node's status as its agent tells it."""
    group = {
        "name": "edge",
        "role": role,
        "for_ms": 1500,
        "reason": "no Active is heard",
        "lease": "short",
        "lease_ms": 292,
        "peers": [{"name": "gw9", "heard": False, "eligible": False, "role": "unknown", "same_config": True}],
    }
    status = {"node": name, "cluster": "shop", "now_ns": 10**12, "maintenance": True, "groups": [group]}
    return {**status, "servers": [], "networks": [{"name": "lan", "reach": "reached"}], **changes}


def test_the_table_of_status_is_korean() -> None:
    """Titles, roles, reasons and what is wrong; names stay."""
    statuses = [node("gw1", "active")]
    text = render(statuses, judge(statuses), korean=True)
    assert "클러스터 shop" in text
    assert "활성 (점검)" in text
    assert "gw1의 뒤를 이을 노드가 없음" in text
    assert "no Active is heard" not in text
    assert "no Active is heard" in render(statuses, judge(statuses))


def test_every_trouble_of_status_has_its_korean_sentence() -> None:
    """Whatever `judge` says about nodes that are as bad as can be."""
    peer = {"name": "gw9", "heard": True, "eligible": False, "role": "standby", "same_config": False}
    bad = node(
        "gw1",
        "active",
        servers=[{"service": "web", "name": "web1:80", "up": False, "reason": "refused"}],
        dropped={"channel-key": 3, "channel-forged": 1, "channel-old-epoch": 1, "channel-path": 1},
    )
    resting = node("gw2", "active")
    resting["groups"][0]["peers"] = [peer]
    vacant = node("gw3", "backup")
    vacant["groups"][0]["name"] = "other"
    troubles = judge([bad, resting, vacant, {"node": "gw4", "error": "no answer", "groups": []}])
    assert len(troubles) >= 10
    assert [trouble for trouble in troubles if sentence(trouble) == trouble] == []


def test_titles_cover_the_columns_and_each_translation_is_korean() -> None:
    """None is missing, and blanks are the same on both sides."""
    assert set(TITLES) == set(COLUMNS)
    for english, korean in SENTENCES:
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", korean))
    for text in (*TITLES.values(), *CELLS.values(), *(korean for _, korean in SENTENCES)):
        assert re.search("[가-힣]", text), text


@pytest.mark.parametrize("text", ["something new", "gw1"])
def test_what_has_no_translation_stays(text: str) -> None:
    """A missing row costs nothing but the language."""
    assert sentence(text) == cell(text) == text


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: str(words[0]))
def test_a_language_that_nobody_speaks_is_refused_before_anything_is_done(words: list[str], tmp_path: Path) -> None:
    """By the option and by the environment, with the code of every command; a known one gets as far as the agents."""
    words = [*words, "--run-dir", str(tmp_path)]
    for result in (
        CliRunner().invoke(app, [*words, "--lang", "xx"], env={LANGUAGE_VARIABLE: "ko"}),
        CliRunner().invoke(app, words, env={LANGUAGE_VARIABLE: "xx"}),
    ):
        assert (result.exit_code, "E6001" in result.output) == (1, True)
    for language in ("en", "ko"):
        result = CliRunner().invoke(app, [*words, "--lang", language], env={LANGUAGE_VARIABLE: "xx"})
        assert "E5301" in result.output


def test_the_quick_way_to_status_refuses_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It parses its own options."""
    assert quick(["--lang", "xx", "--run-dir", str(tmp_path)]) == 1
    assert "E6001" in capsys.readouterr().err
    assert quick(["--lang", "xx", "--json", "--run-dir", str(tmp_path)]) == 1
    assert '"E6001"' in capsys.readouterr().out
    assert quick(["--lang", "ko", "--run-dir", str(tmp_path)]) == 1
    assert "E5301" in capsys.readouterr().err


def test_the_option_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable is none."""
    said = "gw1 stands by again"
    for variable, option, korean in (("ko", None, True), ("ko", "en", False), ("", None, False), ("en", "ko", True)):
        monkeypatch.setenv(LANGUAGE_VARIABLE, variable)
        assert (speaker(option)(said) != said) is korean
