"""What the long benchmarks share: rows that stay, exit codes, whose turn it is, and limits of every wait."""

import contextlib
import fcntl
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flows
import nat
import pytest
import turn
from natrig import Rig
from resumable import Book, carried_out, commit, rows_of

from understudy.errors import EnvironmentFailure, OperatorError
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace

Row = dict[str, Any]
HANGS_S = 30


def row(number: int, at: str = "10:00:00", void: str = "", **found: Any) -> Row:
    return {
        "part": "p", "contender": "understudy", "case": "", "of": 3, "number": number, "at": at, "took_s": 60.0,
        "load": 0.5, "void": void, **found,
    }  # fmt: skip


# -- rows --


def test_every_row_names_the_commit_of_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the rows of one run count once for the time that is left."""
    book = Book(tmp_path / "rows.jsonl", 3, lambda each: f"number {each['number']}")
    assert book.keep(row(0), row(0), row(0))
    assert not book.keep(row(1, void="late"))
    book.close()
    rows = rows_of(tmp_path / "rows.jsonl")
    assert [each["commit"] for each in rows] == [commit()] * 4
    assert book.left == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("   2 left,   2.0 min | number 1")


def test_a_commit_says_whether_the_code_is_as_it_was(tmp_path: Path) -> None:
    assert commit(tmp_path) == ""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/code.py").write_text("1\n")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "one"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = commit(tmp_path)
    assert len(clean) >= 4
    (tmp_path / "rows.jsonl").write_text("{}")
    assert commit(tmp_path) == clean
    (tmp_path / "src/code.py").write_text("2\n")
    assert commit(tmp_path) == clean + "+"


def _raise(error: BaseException) -> Callable[[], int]:
    def measure() -> int:
        raise error

    return measure


def test_an_exit_code_says_whether_all_of_it_was_measured() -> None:
    assert carried_out("x", lambda: 0) == 0
    assert carried_out("x", lambda: 2) == 1
    assert carried_out("x", _raise(OperatorError("E5101", "no", "do"))) == 1
    assert carried_out("x", _raise(TimeoutError())) == 1
    assert carried_out("x", _raise(KeyboardInterrupt())) == 130


def test_a_run_of_several_rows_is_done_when_one_attempt_is_whole() -> None:
    """One void row among seven, and the run is repeated; then it is not repeated again."""
    run = flows.Run("sessions", "understudy", "", 1, 3)
    first = [row(1), row(1, void="it ended early")]
    assert flows.left_of([run], first) == [run]
    assert flows.left_of([run], [*first, row(1, "10:05:00"), row(1, "10:05:00")]) == []


# -- turns --


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lock"
    monkeypatch.setattr(turn, "PATH", path)
    monkeypatch.setattr(turn, "YIELD_S", 0.0)
    return path


def test_who_has_to_wait_says_so_and_who_has_not_is_silent(lock: Path) -> None:
    said: list[str] = []
    with turn.turn(lambda: said.append("waits")):
        pass
    assert said == []
    other = lock.open("a")
    fcntl.flock(other, fcntl.LOCK_EX)

    def waits() -> None:
        said.append("waits")
        fcntl.flock(other, fcntl.LOCK_UN)

    with turn.turn(waits), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert said == ["waits"]
    other.close()


# -- limits --


class _Kept(Book):
    def __init__(self, path: Path) -> None:
        super().__init__(path, 9, lambda each: "")


def test_a_lab_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is kept; while it waits for its turn there is no limit."""

    def hangs(report: Callable[[Row | None], None]) -> None:
        report(flows.OUR_TURN)
        report(row(0))
        time.sleep(HANGS_S)

    def waits(report: Callable[[Row | None], None]) -> None:
        report(flows.WAITING)
        time.sleep(1.5)
        report(flows.OUR_TURN)
        report(row(1))
        report(None)

    monkeypatch.setattr(flows, "SILENCE_S", 1.0)
    book = _Kept(tmp_path / "rows.jsonl")
    with pytest.raises(TimeoutError):
        flows._in_sandbox(hangs, book)
    assert flows._in_sandbox(waits, book)
    book.close()
    assert [each["number"] for each in rows_of(book.path)] == [0, 1]


def test_a_run_in_a_sandbox_has_a_limit(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is void then, and says why."""
    monkeypatch.setattr(nat, "RUN_MAX_S", 0.5)
    run = nat.Run("explain", "random", 0, lambda: nat._in_sandbox(lambda: time.sleep(HANGS_S)) or {})
    with contextlib.closing(turn.Turn()) as alone:
        assert nat.measured(run, alone)["void"].startswith("not run: TimeoutError")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), AssertionError("x"), KeyError("x")])
def test_a_run_that_goes_wrong_is_void_and_the_next_one_follows(lock: Path, error: Exception) -> None:
    def fails() -> Row:
        raise error

    with contextlib.closing(turn.Turn()) as alone:
        assert nat.measured(nat.Run("statics", "1", 0, fails), alone)["void"].startswith("not run: ")


def _lost(seconds: float) -> int:
    raise SystemExit(1)


def _count_nothing() -> str:
    rig = Rig.__new__(Rig)
    rig.inside, rig.outside = Namespace.create("inside"), Namespace.create("outside")
    assert rig._measured(rig.outside, lambda _: 7, rig.inside, lambda _: 0, 0.1) == 7
    try:
        return str(rig._measured(rig.outside, _lost, rig.inside, lambda _: 0, 0.1))
    except EnvironmentFailure as failure:
        return str(failure)


def test_a_count_that_failed_is_no_count_of_zero() -> None:
    assert "without a count" in sandbox.run(_count_nothing)


def test_a_text_that_cannot_be_read_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import natlines

    monkeypatch.setitem(natlines.KINDS, "huge", lambda lines: "\n" * lines)
    found = natlines.read("huge", 3_000_000)
    assert "E7101" in found["void"]
    assert "total_s" not in json.dumps(found)
