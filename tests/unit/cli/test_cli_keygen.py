"""`understudy keygen`: a key is made, and replaced step by step; each says what comes next."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.config.key import load_keys


def run(*words: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, ["keygen", *words, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_the_steps_of_a_rotation_name_the_next(tmp_path: Path) -> None:
    """Made, rotated, promoted, retired: how many keys there are, and what to do with the file."""
    file = str(tmp_path / "cluster.key")
    steps = [(), ("--rotate",), ("--promote",), ("--retire",)]
    answers = [run(*step, file) for step in steps]
    assert [code for code, _ in answers] == [0] * 4
    assert [answer["keys"] for _, answer in answers] == [1, 2, 2, 1]
    assert [answer["done"] for _, answer in answers] == ["created", "rotated", "promoted", "retired"]
    assert all("every node" in answer["next"] for _, answer in answers)
    assert len(load_keys(Path(file))) == 1


def test_two_steps_at_once_and_steps_out_of_order_are_refused(tmp_path: Path) -> None:
    """Nodes need time in between; the file stays as it was."""
    file = tmp_path / "cluster.key"
    run(str(file))
    before = file.read_bytes()
    for words in (("--rotate", "--promote"), ("--retire",), ("--promote",)):
        code, answer = run(*words, str(file))
        assert (code, answer["error"]["code"]) == (1, "E2706")
    assert run(str(file))[1]["error"]["code"] == "E2704"
    assert file.read_bytes() == before
    assert run("--rotate", str(tmp_path / "none.key"))[1]["error"]["code"] == "E2701"


def test_the_text_says_the_same(tmp_path: Path) -> None:
    """Without --json, one line."""
    file = str(tmp_path / "cluster.key")
    CliRunner().invoke(app, ["keygen", file])
    done = CliRunner().invoke(app, ["keygen", "--rotate", file])
    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert "--promote" in done.stdout
