"""What the long benchmarks share: rows in a file that only grows, and an end after which the same command goes on."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from understudy.errors import OperatorError

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
MEASURED = ("src", "bench/*.py")
"""What a row depends on, within the tree."""


def rows_of(path: Path) -> list[Row]:
    """Every whole row; a line that was cut off by an interruption is not one."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def commit(root: Path = ROOT) -> str:
    """Of the code that measures, with a `+` where the tree differs from it; empty where there is no repository."""
    head = _git(root, "rev-parse", "--short", "HEAD")
    if head.returncode:
        return ""
    return head.stdout.strip() + ("+" if _git(root, "diff", "--quiet", "HEAD", "--", *MEASURED).returncode else "")


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = ["git", "--no-optional-locks", *words]
    try:
        return subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", "")


class Book:
    """The rows of one part. `line` says of a row what fits on a line; `left` is how many runs there are to do."""

    def __init__(self, path: Path, left: int, line: Callable[[Row], str]) -> None:
        self.path, self.left = path, left
        self._file, self._line, self._commit = path.open("a"), line, commit()
        self._took, self._runs = 0.0, 0

    def keep(self, *rows: Row) -> bool:
        """The rows of one run. Whether none of them is void."""
        for row in rows:
            text = json.dumps({**row, "commit": self._commit}, separators=(",", ":"), ensure_ascii=False)
            self._file.write(text + "\n")
        self._file.flush()
        fine = not any(row["void"] for row in rows)
        self.left -= fine
        self._took += rows[0]["took_s"]
        self._runs += 1
        minutes = self.left * self._took / self._runs / 60
        for row in rows:
            print(f"{self.left:>4} left, {minutes:5.1f} min | {self._line(row)}", flush=True)
        return fine

    def close(self) -> None:
        self._file.close()


def carried_out(program: str, measure: Callable[[], int]) -> int:
    """Exit code of a program whose `measure` returns how many runs stayed void: 0 none, 1 some, 130 interrupted."""
    try:
        left = measure()
    except (OperatorError, TimeoutError) as error:
        print(f"{program}: {error or 'the lab told nothing for minutes'}; what was measured is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if left:
        print(f"{left} runs stayed void; the same command tries them again", flush=True)
    return 1 if left else 0


def whole_attempts(rows: Sequence[Row], key: Callable[[Row], object]) -> set[object]:
    """Keys of runs of which one attempt (the rows of one instant) has no void row."""
    void = {(key(row), row["at"]) for row in rows if row["void"]}
    return {key(row) for row in rows if (key(row), row["at"]) not in void}
