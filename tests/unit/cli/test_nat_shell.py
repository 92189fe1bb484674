"""`understudy nat shell` from a pipe and at a terminal: the file written, refusals, filters, keys. No agent answers."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.cli.nat_shell_commit import Ended, commit
from understudy.cli.nat_shell_file import find_lines
from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.ios import reader

HEAD = """\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {outside: 203.0.113.10, inside: 10.9.0.254}
"""
ONE, TWO = "ip nat inside source static 10.9.0.11 203.0.113.21", "ip nat inside source static 10.9.0.12 203.0.113.22"
SHAPES = {
    "list": f"nat:\n  state: replicate # why\n  lines: # these\n    - {ONE}\n# after\n",
    "flow": f"nat: {{state: replicate, lines: [{ONE}]}} # end\n",
    "text": f"nat:\n  lines: |\n    {ONE}\n  state: replicate\n",
    "bare": f"nat:\n  - {ONE} # the shop\n# after\n",
    "word": f"nat: {ONE}\n",
    "entry": f"nat:\n  - state: replicate\n    lines: [{ONE}]\n",
}


def file_of(tmp_path: Path, nat: str) -> Path:
    file = tmp_path / "pair.yaml"
    file.write_text(HEAD + nat)
    return file


def script(file: Path, *lines: str) -> Any:
    text = "".join(f"{line}\n" for line in lines)
    return CliRunner().invoke(app, ["nat", "shell", str(file), "--run-dir", str(file.parent / "none")], input=text)


def statics(file: Path) -> set[str]:
    plan = load_plan(file)
    assert plan.ios is not None
    return {each.text for each in plan.ios.said if "static" in each.text}


@pytest.mark.parametrize("shape", [*SHAPES, "nothing"])
def test_commit_writes_the_lines_where_they_stand_and_nothing_else(shape: str, tmp_path: Path) -> None:
    """Whatever the shape; all around them is as it was, byte for byte."""
    file = file_of(tmp_path, SHAPES.get(shape, ""))
    result = script(file, "configure terminal", TWO, "end", "commit")
    assert result.exit_code == 0, result.output
    assert statics(file) == ({ONE, TWO} if shape in SHAPES else {TWO})
    text = file.read_text()
    assert text.startswith(HEAD)
    for kept in ("# after", "# why", "state: replicate"):
        assert (kept in text) == (kept in SHAPES.get(shape, "state: replicate")), text
    assert [path.name for path in tmp_path.iterdir()] == ["pair.yaml"]


def test_roles_that_the_file_leaves_out_are_shown_and_stay(tmp_path: Path) -> None:
    """One that is typed would otherwise be the only one, and nothing would be translated."""
    file = file_of(tmp_path, SHAPES["list"])
    result = script(
        file, "show run | section interface", "show changes", "conf t", "int inside", "ip nat inside", "commit"
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:5] == [
        "interface outside",
        " ip nat outside",
        "interface inside",
        " ip nat inside",
    ]
    assert "! nothing changes" in result.stdout
    script(file, "conf t", TWO, "commit")
    plan = load_plan(file)
    assert plan.ios is not None
    assert {each.name: "/".join(each.roles) for each in plan.ios.configuration.interfaces} == {
        "outside": "outside", "inside": "inside"
    }  # fmt: skip


def test_the_last_line_may_go(tmp_path: Path) -> None:
    file = file_of(tmp_path, SHAPES["list"])
    assert script(file, "conf t", f"no {ONE}", "commit").exit_code == 0
    assert load_plan(file).ios is None
    assert script(file, "conf t", TWO, "commit").exit_code == 0
    assert statics(file) == {TWO}


def test_a_refused_line_keeps_a_script_from_changing_anything(tmp_path: Path) -> None:
    """Exit code 1; after `abort` the rest of the script counts again."""
    file = file_of(tmp_path, SHAPES["list"])
    before = file.read_text()
    result = script(file, "conf t", TWO, "ip nat insid sorce", "end", "commit")
    assert (result.exit_code, file.read_text()) == (1, before)
    assert "% not committed" in result.output
    result = script(file, "conf t", "ip nat insid sorce", "abort", TWO, "end", "commit")
    assert (result.exit_code, statics(file)) == (1, {ONE, TWO})


def test_what_check_refuses_is_not_written(tmp_path: Path) -> None:
    file = file_of(tmp_path, SHAPES["list"])
    before = file.read_text()
    result = script(file, "conf t", "ip nat inside source static 10.9.0.13 203.0.113.2", "end", "commit")
    assert (result.exit_code, "E2510" in result.output, file.read_text()) == (1, True, before)


def test_staged_lines_that_are_left_behind_are_told(tmp_path: Path) -> None:
    file = file_of(tmp_path, SHAPES["list"])
    before = file.read_text()
    result = script(file, "conf t", TWO, "end", "exit")
    assert (result.exit_code, file.read_text()) == (2, before)
    assert "left behind" in result.output


def test_a_file_that_somebody_else_changed_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and `commit`; `abort` begins with what is there now."""
    from understudy.ios import shell

    file = file_of(tmp_path, SHAPES["list"])
    start, before = shell.Shell.start, file.read_text()

    def changed(self: shell.Shell, lines: Any) -> None:
        start(self, lines)
        file.write_text(before + "# theirs\n")

    monkeypatch.setattr(shell.Shell, "start", changed)
    result = script(file, "conf t", TWO, "end", "commit")
    assert (result.exit_code, "E7153" in result.output, statics(file)) == (1, True, {ONE})
    file.write_text(before)
    script(file, "conf t", TWO, "end", "commit", "abort", "conf t", TWO, "end", "commit")
    assert statics(file) == {ONE, TWO}
    assert file.read_text().endswith("# theirs\n")


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("show run | include static", [ONE]),
        ("show run | exc nat", ["interface outside", "interface inside", "end"]),
        ("show run | begin static", [ONE, "end"]),
        ("show run | count nat", ["Number of lines which match regexp = 3"]),
        ("show run | section nat in", ["interface inside", " ip nat inside", ONE]),
    ],
)
def test_outputs_are_filtered_as_on_a_router(line: str, printed: list[str], tmp_path: Path) -> None:
    result = script(file_of(tmp_path, SHAPES["bare"]), line)
    assert (result.exit_code, result.stdout.splitlines()[1:]) == (0, printed)


@pytest.mark.parametrize(
    "line",
    ["show run | foo x", "show run | include", "show run | include (", "show run x", "show ip nat stat | foo x",
     "show ip nat pool name P | include ("],
)  # fmt: skip
def test_a_filter_that_is_none_is_told(line: str, tmp_path: Path) -> None:
    result = script(file_of(tmp_path, SHAPES["bare"]), line)
    assert (result.exit_code, "E7154" in result.output) == (1, True)


def test_without_an_agent_show_says_so_and_the_session_goes_on(tmp_path: Path) -> None:
    result = script(file_of(tmp_path, SHAPES["bare"]), "show ip nat translations", "show run | count static")
    assert (result.exit_code, "E5301" in result.output) == (1, True)
    assert "Number of lines" in result.output


@pytest.mark.parametrize(
    "nat",
    [
        "nat: {from: edge.ios}\n",
        f"nat:\n  - {ONE}\n  - lines: [{TWO}]\n",
        f"nat:\n  - lines: [{ONE}]\n  - lines: [{TWO}]\n",
    ],
)
def test_lines_without_one_place_are_shown_and_not_changed(nat: str, tmp_path: Path) -> None:
    (tmp_path / "edge.ios").write_text(f"{ONE}\n")
    file = file_of(tmp_path, nat)
    result = script(file, "show run", "conf t")
    assert result.exit_code == 1
    assert ONE in result.output
    with pytest.raises(OperatorError) as error:
        find_lines(file.read_text())
    assert error.value.code == "E7152"


def test_an_overlong_line_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    result = script(file_of(tmp_path, SHAPES["bare"]), "show " + "x" * 5000, "show run | count static")
    assert result.exit_code == 1
    assert "Number of lines which match regexp = 1" in result.output


def test_bytes_that_are_no_text_are_a_wrong_line(tmp_path: Path) -> None:
    """Where the locale is strict about it, too; the lines behind it are read, and nothing of it is written."""
    file = file_of(tmp_path, SHAPES["list"])
    before = file.read_text()
    command = [sys.executable, "-c", "from understudy.cli import main; main()", "nat", "shell", str(file)]
    done = subprocess.run(
        [*command, "--run-dir", str(tmp_path / "none")],
        input=b"conf t\nip nat insid\xff source\nend\ncommit\nshow run | count static\n",
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 1, done.stderr
    assert b"Invalid input" in done.stdout
    assert done.stdout.endswith(b"Number of lines which match regexp = 1\n")
    assert (b"Traceback" in done.stderr, file.read_text()) == (False, before)


def test_a_script_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that are taken count; the others are not passed over in silence."""
    monkeypatch.setattr(reader, "LINES_MAX", 40)
    file = file_of(tmp_path, SHAPES["list"])
    fine = script(file, *["!"] * 37, "conf t", TWO, "commit")
    assert (fine.exit_code, statics(file)) == (0, {ONE, TWO})
    result = script(file, *["!"] * 37, "conf t", f"no {TWO}", "commit", f"no {ONE}")
    assert (result.exit_code, "E7101" in result.output, statics(file)) == (1, True, {ONE})


def test_what_the_profile_decides_is_told_once_a_session(tmp_path: Path) -> None:
    """Lines that are new are told, and in another session all of them."""
    rule = "ip nat inside source list 1 interface outside overload"
    lists = [f"access-list {n} permit 10.9.0.{n}" for n in (1, 2)]
    file = file_of(tmp_path, SHAPES["list"])
    other = rule.replace("list 1", "list 2")
    first = script(file, "conf t", *lists, rule, "commit", TWO, "commit", other, "commit")
    assert first.exit_code == 0, first.output
    told = [line for line in first.output.splitlines() if "same-within-profile" in line]
    assert [sum(each in line for line in told) for each in (rule, other)] == [1, 1]
    assert script(file, "conf t", f"no {TWO}", "commit").output.count("same-within-profile") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_commit_leaves_the_file_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever moment: here while it is checked beside ours; a second one does not come between."""
    file = file_of(tmp_path, SHAPES["list"])
    before = file.read_text()
    reached = []

    def ended(text: object) -> None:
        reached.append(text)
        os.kill(os.getpid(), number)
        time.sleep(0.01)  # a moment for Python to call the handler

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    held = signal.signal(number, usual)  # Whoever runs this may ignore it.
    try:
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Ended):
            commit(file, before, before.replace(ONE, TWO), run_dir=tmp_path, lang="en", yes=True, say=ended)
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, held)
    assert len(reached) == 1
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["pair.yaml"]


def test_lines_of_every_shape_are_found() -> None:
    """Control: what YAML itself reads there."""
    for text in SHAPES.values():
        nat = yaml.safe_load(text)["nat"]
        entries = nat if isinstance(nat, list) else [nat]
        wanted = [each if isinstance(each, str) else each["lines"] for each in entries]
        flat = [line for each in wanted for line in ([each] if isinstance(each, str) else each)]
        assert list(find_lines(text).held) == [line.strip() for line in flat]


class Terminal:
    """The command at a terminal of its own, typed into key by key."""

    def __init__(self, file: Path) -> None:
        self._pid, self._end = pty.fork()
        if self._pid == 0:  # pragma: no cover -- the child
            os.environ["TERM"] = "dumb"
            words = ["nat", "shell", str(file), "--run-dir", str(file.parent / "none")]
            os.execv(sys.executable, [sys.executable, "-c", "from understudy.cli import main; main()", *words])
        self._seen = b""

    def until(self, wanted: str, timeout_s: float = 15.0) -> str:
        """All that came up to what is waited for."""
        deadline = time.monotonic() + timeout_s
        while wanted.encode() not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._end], [], [], 0.1)[0]:
                self._seen += os.read(self._end, 65536)
        found, _, self._seen = self._seen.partition(wanted.encode())
        return found.decode() + wanted

    def keys(self, text: str) -> None:
        os.write(self._end, text.encode())

    def close(self) -> int:
        """The exit code."""
        try:
            os.set_blocking(self._end, False)
            for _ in range(150):
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status)
                time.sleep(0.1)
            os.kill(self._pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        finally:
            os.close(self._end)


def test_tab_and_question_mark_work_at_a_terminal(tmp_path: Path) -> None:
    """The tab key completes; `?` tells at once and the line goes on; leaving with staged lines asks once more."""
    terminal = Terminal(file_of(tmp_path, SHAPES["list"]))
    terminal.until("shop#")
    terminal.keys("conf\tt\t")
    terminal.until("configure terminal ")
    terminal.keys("\r")
    terminal.until("shop(config)#")
    terminal.keys("ip nat inside source ?")
    shown = terminal.until("route-map")
    assert "list" in shown
    terminal.until("shop(config)#ip nat inside source ")
    terminal.keys("static 10.9.0.12 203.0.113.22\rend\rshow changes\r")
    terminal.until(f"+{TWO}")
    terminal.keys("exit\r")
    terminal.until("`exit` once more")
    terminal.keys("exit\r")
    terminal.until("left behind")
    assert terminal.close() == 2


def test_words_that_are_no_filter_are_told_where_a_show_has_none(tmp_path: Path) -> None:
    for line in ("show ip nat statistics tcp", "show ip nat pool name P tcp | include x"):
        result = script(file_of(tmp_path, SHAPES["bare"]), line)
        assert (result.exit_code, "E7123 'tcp'" in result.output) == (1, True), result.output
