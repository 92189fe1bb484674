"""Rows of other benchmarks, as `bench/run.py` keeps them and the page shows them."""

import json
from pathlib import Path
from typing import Any

import pytest
import report
from measure import simulated_faults
from programs import (
    asked_of,
    counting,
    first_pass_told,
    gap_cell,
    not_counted,
    programs_section,
    rows_table,
    told_apart,
)
from run import PARTS, Part, Program, alone, finished, rows_in, take_kept
from verdicts import MET, verdict

Row = dict[str, Any]


def row(contender: str = "understudy", number: int = 0, of: int = 5, **found: Any) -> Row:
    return {
        "part": "p", "contender": contender, "case": "", "of": of, "number": number, "at": "10:00:00", "took_s": 2.0,
        "load": 0.5, "void": "", **found,
    }  # fmt: skip


def test_rows_are_read_in_either_form() -> None:
    """One object with `rows`, JSON lines amid a program's other words, or a single line."""
    assert rows_in('{"command": "x", "rows": [{"ms": 1}, {"ms": 2}]}') == [{"ms": 1}, {"ms": 2}]
    assert rows_in('measuring\n{"ms": 1}\n{"ms": 2}\ndone\n') == [{"ms": 1}, {"ms": 2}]
    assert rows_in('{"ms": 1}\n') == [{"ms": 1}]
    assert rows_in("") == []


def test_a_kind_of_row_is_a_line_with_median_and_worst() -> None:
    """Truth is counted, and equal values are said once."""
    table = rows_table(
        [
            {"kind": "rule", "ms": 3.0, "fine": True, "tries": 1},
            {"kind": "rule", "ms": 9.0, "fine": False, "tries": 1},
            {"kind": "link", "ms": 1.0, "fine": True, "tries": 2},
        ]
    )
    assert table.splitlines()[2:] == ["| rule | 2 | 6, max 9 | 1 of 2 | 1 |", "| link | 1 | 1 | 1 of 1 | 2 |"]


# -- documents of rows --


def test_kept_rows_are_of_a_run_that_did_not_end(tmp_path: Path) -> None:
    """A command that brought twenty rows took its time once; what is whole already is left alone."""
    rows = [*(row(load=1.0) for _ in range(20)), row(number=1, load=3.0)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    part = Part("flows-x", "a bar", Program("flows.py", rows="rows.jsonl"))
    target = tmp_path / "flows-x.json"
    assert not finished(target)
    assert take_kept([part], tmp_path) == 0
    document = json.loads(target.read_text())
    assert (document["exit"], document["took_s"], len(document["rows"])) == (None, 4.0, 21)
    assert (document["load_first"], document["load_last"]) == (1.0, 3.0)
    assert not finished(target)
    target.write_text(json.dumps({**document, "exit": 1, "rows": []}))
    assert finished(target)
    take_kept([part], tmp_path)
    assert json.loads(target.read_text())["rows"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flows-x.json", "rows.jsonl"]
    target.write_text(json.dumps({"part": "check-1000", "rows": []}))
    assert finished(target)


def test_the_page_tells_rows_of_a_run_that_did_not_end() -> None:
    document = {"claim": "c", "command": "x", "exit": None, "rows": [row(p50_ms=1.0)]}
    assert "`x`; rows of a run that did not end." in programs_section({"flows-lag": document})
    assert "`x`; it ended with 1." in programs_section({"flows-lag": {**document, "exit": 1}})
    kept = {"load_first": 1.0, "load_last": 2.0}
    assert (report.loads(kept), report.loads({"load_before": 1.0, "load_after": 2.0})) == (
        "1.00 / 2.00 (rows)",
        "1.00 / 2.00",
    )


def test_simulated_faults_are_a_document_of_the_page(tmp_path: Path) -> None:
    document = simulated_faults(tmp_path, 1)
    assert document["exit"] == 0
    assert "it ended with 0" in programs_section({"sim-faults": {"claim": "c", **document}})


def test_who_takes_no_turns_is_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who does is not, or it would wait for itself."""
    monkeypatch.setattr("turn.PATH", tmp_path / "lock")
    for part in PARTS:
        with alone(part):
            held = (tmp_path / "lock").exists()
        (tmp_path / "lock").unlink(missing_ok=True)
        assert held is not part.name.startswith(("flows-", "nat-")), part.name
        if held:
            break  # each costs a pause
    (nat,) = (part for part in PARTS if part.name == "nat-lines")
    with alone(nat):
        assert not (tmp_path / "lock").exists()


# -- which rows count --


def test_void_runs_are_told_by_contender_with_their_reason() -> None:
    """And who is still short of what was asked for; and whether state was missing in what does not count."""
    rows = [
        *(row("understudy", n) for n in range(5)),
        *(row("conntrackd", n) for n in range(3)),
        *(row("conntrackd", n, void=f"the asker stalled for {n} ms", missing_at_answer=2000) for n in (3, 4)),
        row("understudy", 0, void="the asker stalled for 9 ms", missing_at_answer=0),
    ]
    assert not_counted(rows).strip().splitlines() == [
        "* understudy: void 1 (the asker stalled: 1; missing_at_answer 0)",
        "* conntrackd: void 2 (the asker stalled: 2; missing_at_answer 2 000); "
        "runs asked for without a row that counts: 2",
    ]
    assert not_counted(rows[:5]) == ""


def test_runs_of_a_series_that_no_other_was_in_stand_apart() -> None:
    """They did not meet the others' moments. The control has fewer runs, and one series; of one alone all are one."""
    rows = [
        *(row("understudy", n, of=20) for n in range(20)),
        *(row("conntrackd", n, of=20) for n in range(19)),
        *(row("understudy", n, of=80) for n in range(26)),
        *(row("unreplicated", n, of=5) for n in range(2)),
    ]
    table = rows_table(told_apart(rows), ("contender",), ("load",), asked_of("flows-switchover"))
    assert [line.split(" | ")[:2] for line in table.splitlines()[2:]] == [
        ["| understudy", "20 of 100"],
        ["| conntrackd", "19 of 100"],
        ["| understudy, series of 80", "26 of 80"],
        ["| unreplicated", "2 of 5"],
    ]
    alone = [each for each in rows if each["contender"] == "understudy"]
    assert {each["contender"] for each in told_apart(alone)} == {"understudy"}


def test_promotions_of_one_command_are_counted_as_such() -> None:
    rows = [row(case="on", of=1) for _ in range(20)]
    assert asked_of("flows-gate")(rows) == 200


def test_an_attempt_with_a_void_row_counts_until_it_was_repeated() -> None:
    """Of seven sessions six were fine: not twice, once all seven were."""
    first = [row(session="ssh"), row(session="ftp", void="it ended early")]
    again = [row(session=each, at="10:05:00") for each in ("ssh", "ftp")]
    assert counting(first) == first[:1]
    assert counting([*first, *again]) == again


def test_no_gap_is_no_zero() -> None:
    """Shorter ones are not noted: how long they were is not known."""
    rows = [row(kill_ms=None), row(kill_ms=0), row(kill_ms=80.0)]
    assert gap_cell("kill_ms", rows) == "80 in 1 of 3"
    assert gap_cell("kill_ms", rows[:2]) == "-"
    assert gap_cell("whole", [row(whole=False)]) == "0 of 1"


# -- faults with no human --


def test_faults_that_were_not_seen_and_an_earlier_pass_are_named() -> None:
    def fault(number: int, *, ended: bool, counts: bool = True, void: tuple[str, ...] = ()) -> Row:
        why = [] if ended else ["it stayed"]
        return {"number": number, "fault": "flap", "file": "pair.yaml", "ended": ended, "counts": counts,
                "void": list(void), "why": why, "outage_ms": 1.0}  # fmt: skip

    rows = [fault(1, ended=True), fault(2, ended=False, counts=False, void=("late", "later"))]
    document = {"claim": "c", "command": "x", "exit": 0, "rows": rows}
    page = programs_section(
        {"coverage-500": document}, {"coverage-500": ("first.jsonl", [*rows, fault(3, ended=False)])}
    )
    assert "1 of 1 ended as they must: 100.00 %." in page
    assert "1 were not seen well in any attempt" in page
    assert "* number 2, flap, pair.yaml: late; later" in page
    assert "(`first.jsonl`): 1 of 2 ended as they must, 50.00 %, with 1 void: **missed**" in page
    assert "number 3, flap: it stayed" in page
    assert "**missed**" not in first_pass_told(rows[:1], "first.jsonl")


# -- verdicts --

STRUCK = {"tcp_established": 1000, "tcp_survived": 1000, "tcp_reset": 0, "packets_lost": 0}
CONTROL = {**STRUCK, "tcp_survived": 0}
IDLE = {
    "gate_ms": 1.5, "resync_s": 7.0, "idle_cpu_percent_active": 2.5, "idle_cpu_percent_standby": 2.5,
    "pss_mb_active": 70.0, "pss_mb_standby": 85.0,
}  # fmt: skip


def survival(ours: Row, control: Row, runs: int = 30) -> list[Row]:
    return [
        *(row("understudy", n, of=30, **ours) for n in range(runs)),
        *(row("unreplicated", n, **control) for n in range(5)),
    ]


@pytest.mark.parametrize(
    ("name", "rows", "told"),
    [
        ("flows-survival", survival(STRUCK, CONTROL), "met"),
        ("flows-survival", survival(STRUCK, CONTROL, 29), "too few runs"),
        ("flows-survival", survival({**STRUCK, "tcp_survived": 998}, CONTROL, 2),
         "**missed**: 1996 of 2000 tcp survived"),
        ("flows-survival", survival({**STRUCK, "tcp_reset": 1}, CONTROL), "**missed**: resets 1 (at most 0)"),
        ("flows-survival", survival(STRUCK, STRUCK), "**missed**: the control lost nothing"),
        ("flows-resync", [row(case="200000", number=n, **IDLE) for n in range(5)], "met"),
        ("flows-resync", [row(case="200000", **{**IDLE, "idle_cpu_percent_active": 3.98})],
         "**missed**: idle active, % of a CPU 3.98 (at most 3)"),
        ("flows-resync", [row(case="200000", **{**IDLE, "resync_s": None})],
         "**missed**: copied anew in s: unknown in 1 of 1"),
        ("flows-rate",
         [row(sustained=86_000, active_cpu_s=1.34), row("conntrackd", sustained=150_000, active_cpu_s=1.21)],
         "**missed**: CPU of the active 1.34 s, conntrackd's 1.21 s"),
        ("flows-rate", [row("conntrackd", sustained=150_000, active_cpu_s=1.21)], "too few runs"),
        ("sim-faults", [{"violations": 0}], "met"),
        ("flows-overrun", [row("understudy, series of 5", agreed_s=3.5)],
         "**missed**: s until both sides agreed 3.5 (at most 3)"),
    ],
)  # fmt: skip
def test_a_bar_is_met_missed_or_not_yet_known(name: str, rows: list[Row], told: str) -> None:
    assert verdict(name, rows) == told


def test_every_part_of_the_flows_has_a_verdict_and_what_has_no_rows_is_named() -> None:
    names = [part.name for part in PARTS if part.name.startswith("flows-")]
    assert set(names) <= MET.keys()
    page = programs_section({})
    assert page.startswith("\n## Not measured")
    assert all(f"`{name}`" in page for name in names)


def test_rows_of_two_commits_say_so() -> None:
    rows = [row(number=n, p50_ms=1.0, commit=commit) for n, commit in enumerate(("aaa", "aaa", "bbb"))]
    document = {"claim": "c", "command": "x", "exit": 0, "rows": rows}
    assert "Rows of `aaa`: 2, `bbb`: 1." in programs_section({"flows-lag": document})
    assert "ows of" not in programs_section({"flows-lag": {**document, "rows": rows[:2]}})
