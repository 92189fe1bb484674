"""The commands speak Korean to people, and lose nothing where a sentence has no translation."""

import re
from typing import Any

import pytest

from understudy.cli.korean import CELLS, SENTENCES, TITLES, cell, sentence
from understudy.cli.status import COLUMNS, judge, render


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
