"""The comparison beside other daemons: what is planned, what goes on after an interruption, what the rows become."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import compare
import comparison
import plots
import pytest
import summary
from compare import QUICK, SERIES, Progress, Run, Series, key_of, plan_runs
from contenders import CONTENDERS, frr_config, keepalived_config
from injections import FAULTS
from resumable import rows_of

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.units import MILLISECOND, NodeName

PORTS = {"outside": "eth0", "inside": "eth1", "sync": "eth2"}
NAMES = tuple(CONTENDERS)
MACHINE = {"name": "host", "cpu": "cpu", "cpus": 2, "kernel": "6", "root": True}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(compare.PAIR, 50 * MILLISECOND)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's worth of bootstraps takes seconds; what is asserted holds with few."""
    monkeypatch.setattr(summary, "RESAMPLES", 200)


def row(contender: str, number: int, outage_ms: float, **changes: Any) -> dict[str, Any]:
    """A run as `strikes` records one."""
    return {
        "contender": contender, "fault": "node-power-loss", "advertise_ms": 100, "of": 3, "number": number,
        "attempt": 0, "void": "", "took_s": 2.0, "struck": "gw1", "phase": 0.5, "recovered": True,
        "outage_ms": outage_ms, "dual_answer_ms": 0.0, "overlap_ms": 0.0, "answers_on": False,
        "packets_lost": 2, "speaker_changes": 1,
        "tcp_established": 40, "tcp_survived": 40, "tcp_reset": 0, "tcp_stalled": 0, "load_average": 0.5,
        "cpu_busy": 0.3, "cpu_steal": 0.0,
    } | changes  # fmt: skip


def test_every_contender_is_struck_in_the_same_phases() -> None:
    """Number by number, in slices of the interval that are all used."""
    runs = plan_runs([Series("node-power-loss", 100, 20)], NAMES, seed=1)[100]
    phases = {name: {run.number: run.phase for run in runs if run.contender == name} for name in NAMES}
    assert all(each == phases["understudy"] for each in phases.values())
    assert sorted(int(phase * 20) for phase in phases["frr"].values()) == list(range(20))


def test_the_order_is_shuffled_over_contenders_and_faults_and_the_same_on_every_start() -> None:
    """Or an interruption would leave other runs to do than those that are left."""
    runs = plan_runs(SERIES, NAMES, seed=1)[100]
    assert runs == plan_runs(SERIES, NAMES, seed=1)[100]
    assert runs != plan_runs(SERIES, NAMES, seed=2)[100]
    first = runs[:60]
    assert len({run.contender for run in first}) == len(NAMES)
    assert len({run.series.fault for run in first}) >= 5


def test_who_knows_no_hand_over_is_not_asked_for_one() -> None:
    """FRR has none."""
    runs = plan_runs([Series("switchover", 100, 2)], NAMES, seed=1)[100]
    assert {run.contender for run in runs} == set(NAMES) - {"frr"}


def test_all_series_name_faults_that_exist() -> None:
    """The quick series as well."""
    assert {series.fault for series in (*SERIES, *QUICK)} <= FAULTS.keys()


def test_what_was_measured_is_left_out_and_what_was_cut_off_is_not(tmp_path: Path) -> None:
    """A row that the interruption cut, and a void one, are measured again."""
    path = tmp_path / compare.ROWS
    whole = json.dumps(row("understudy", 0, 250.0))
    void = json.dumps(row("understudy", 1, 250.0, void="the asker stalled"))
    path.write_text(f"{whole}\n{void}\n{whole[:70]}")
    rows = rows_of(path)
    assert len(rows) == 2
    planned = plan_runs([Series("node-power-loss", 100, 3)], ["understudy"], seed=1)[100]
    done = {key_of(each) for each in rows if not each["void"]}
    assert sorted(run.number for run in planned if run.key not in done) == [1, 2]


def test_the_time_that_is_left_follows_from_what_runs_took() -> None:
    """Void runs take time too, and stay to be done."""
    runs = [Run("understudy", Series("node-power-loss", 100, 3), number, 0.5) for number in range(3)]
    progress = Progress(runs, [row("understudy", 0, 250.0, took_s=4.0)])
    assert progress.left_s() == 12.0
    progress.tell(row("understudy", 1, 250.0, took_s=4.0))
    assert progress.left_s() == 8.0
    progress.tell(row("understudy", 2, 250.0, took_s=4.0, void="late"))
    assert progress.left_s() == 8.0


@pytest.mark.parametrize(("struck", "low", "high"), [("gw1", 206.25, 306.25), ("gw2", 202.34375, 302.34375)])
def test_the_bound_has_the_skew_of_the_node_that_stood_by(struck: str, low: float, high: float) -> None:
    """gw2 stands by with priority 240, gw1 with 250."""
    assert summary.bound_ms(row("understudy", 0, 0.0, struck=struck)) == (low, high)


def test_what_is_beyond_the_timers_does_not_depend_on_the_phase() -> None:
    """3 I + skew from the last advertisement on; the rest is the daemon's."""
    early = row("understudy", 0, 306.25 - 10 + 2, phase=0.1)
    late = row("understudy", 0, 306.25 - 90 + 2, phase=0.9)
    assert summary.beyond_protocol_ms(early) == pytest.approx(2.0)
    assert summary.beyond_protocol_ms(late) == pytest.approx(2.0)


def test_keepalived_counts_with_its_better_mode() -> None:
    """And the ratio is of medians, inside its own interval."""
    rows = [
        *(row("understudy", n, 250.0 + n) for n in range(3)),
        *(row("keepalived", n, 280.0 + n) for n in range(3)),
        *(row("keepalived-vmac", n, 249.0 + n) for n in range(3)),
    ]
    by_name = {each["name"]: each for each in summary.summarise(rows, MACHINE)["contenders"]}
    ours = by_name["understudy"]
    assert ours["compared_with"] == "keepalived-vmac"
    assert ours["ratio_of_medians"]["value"] == round(251 / 250, 4)
    assert ours["ratio_of_medians"]["low"] <= ours["ratio_of_medians"]["value"] <= ours["ratio_of_medians"]["high"]
    assert ours["outage_ms"] == {"p50": 251.0, "p95": 252.0, "p99": 252.0, "max": 252.0, "min": 250.0}


def test_void_runs_are_counted_and_not_believed() -> None:
    """Nor is an outage outside of the bound called inside."""
    rows = [
        row("understudy", 0, 250.0),
        row("understudy", 1, 150.0),
        row("understudy", 2, 9000.0, void="the asker stalled for 9.1 ms"),
    ]
    (entry,) = summary.summarise(rows, MACHINE)["contenders"]
    assert (entry["runs"], entry["void"], entry["within_bound"]) == (2, 1, 1)
    assert entry["void_reasons"] == {"the asker stalled": 1}
    assert entry["outage_ms"]["max"] == 250.0


def test_a_series_of_another_size_is_not_mixed_in() -> None:
    """Its phases are stratified otherwise: three quick runs do not count among sixty."""
    rows = [row("understudy", 0, 900.0), *(row("understudy", n, 250.0, of=60) for n in range(4))]
    good, _, _ = summary.series_of(rows)
    assert Counter(each["of"] for each in good["node-power-loss", 100, "understudy"]) == {60: 4}


def test_the_interval_of_a_ratio_compares_equal_phases() -> None:
    """However far the phases spread outages, two daemons that differ by 2 % differ by 2 %."""
    theirs = [row("keepalived", n, 200.0 + 5 * n) for n in range(20)]
    ours = [row("understudy", n, 1.02 * (200.0 + 5 * n)) for n in reversed(range(20))]
    ratio = summary.ratio_interval(ours, theirs)
    assert ratio == pytest.approx((1.02, 1.02, 1.02))


def test_where_nothing_was_out_there_is_no_ratio() -> None:
    """Nor where no run of ours has a counterpart."""
    assert summary.ratio_interval([row("understudy", 0, 1.0)], [row("keepalived", 0, 0.0)]) is None
    assert summary.ratio_interval([row("understudy", 0, 1.0)], [row("keepalived", 1, 1.0)]) is None


def test_keepalived_is_told_what_the_file_says(plan: Plan) -> None:
    """Same VRID, priorities, interval and addresses; the mode adds the virtual MAC alone."""
    plain = keepalived_config(plan, NodeName("gw2"), Path("/run/gw2"), PORTS, vmac=False)
    for line in (
        "priority 240", "advert_int 0.05", "virtual_router_id 31", "interface eth1", "10.9.0.254/32",
        "203.0.113.10/32", "nopreempt", "vrrp_version 3", "vrrp_rt_priority 50",
    ):  # fmt: skip
        assert line in plain
    vmac = keepalived_config(plan, NodeName("gw2"), Path("/run/gw2"), PORTS, vmac=True)
    added = [line.strip() for line in vmac.splitlines() if line not in plain.splitlines()]
    assert added == ["use_vmac kvrrp1", "vmac_xmit_base", "use_vmac kvrrp2", "vmac_xmit_base"]
    assert plain.count("{") == plain.count("}")


def test_frr_is_told_what_the_file_says(plan: Plan) -> None:
    """In its own words: the interval in milliseconds, on each LAN."""
    text = frr_config(plan, NodeName("gw1"), PORTS)
    assert text.count("vrrp 31 priority 250") == 2
    assert text.count("vrrp 31 advertisement-interval 50") == 2
    assert text.count("no vrrp 31 preempt") == 2
    assert " vrrp 31 ip 203.0.113.10\n" in text


def everything() -> list[dict[str, Any]]:
    rows = []
    for fault, interval in {(series.fault, series.advertise_ms) for series in SERIES}:
        for name in NAMES:
            for number in range(3):
                endless = name != "understudy" and fault.startswith("agent")
                rows.append(
                    row(name, number, 2.5 * interval + number)
                    | {"fault": fault, "advertise_ms": interval}
                    | ({"dual_answer_ms": 400.0, "answers_on": True} if endless else {})
                )
    return rows


def test_pictures_hold_a_dot_for_every_run() -> None:
    """Well-formed, and hollow where traffic did not come back."""
    rows = everything()
    rows[0]["recovered"] = False
    good, _, _ = summary.series_of(rows)
    space = "{http://www.w3.org/2000/svg}"
    losses = ET.fromstring(plots.outages(good, "node-power-loss"))
    assert len(losses.findall(f"{space}circle")) == 3 * 4 * 3
    for drawing in (plots.faults(good, 100, comparison.OTHERS), plots.dual_answers(good, [("agent-freeze", 100)])):
        assert ET.fromstring(drawing).get("aria-label")
    assert plots.dual_answers(good, [("agent-freeze", 100)]).count("and on") == 3


def test_the_page_says_met_and_missed(tmp_path: Path) -> None:
    """A slower median, or one dual answer of ours, cannot pass unnoticed."""
    rows = everything()
    (tmp_path / compare.ROWS).write_text("".join(json.dumps(each) + "\n" for each in rows))
    text = comparison.section(tmp_path, tmp_path)
    assert "**missed**" not in text
    assert (tmp_path / "bench-power-loss.svg").exists()
    for each in rows:
        if each["contender"] == "understudy":
            each["outage_ms"] *= 1.1
            each["dual_answer_ms"] = 2.0 if each["fault"] == "agent-kill" else 0.0
    (tmp_path / compare.ROWS).write_text("".join(json.dumps(each) + "\n" for each in rows))
    text = comparison.section(tmp_path, tmp_path)
    assert text.count("**missed**") == 3 + 2  # three intervals of the power loss, two of the kill


def test_what_was_not_measured_is_no_empty_table(tmp_path: Path) -> None:
    """Nor an empty picture."""
    rows = [each for each in everything() if each["fault"] == "node-power-loss"]
    (tmp_path / compare.ROWS).write_text("".join(json.dumps(each) + "\n" for each in rows))
    text = comparison.section(tmp_path, tmp_path)
    assert "Everything else, at 100 ms\n\nNot measured." in text
    assert "bench-faults.svg" not in text
    assert not (tmp_path / "bench-faults.svg").exists()
    (tmp_path / compare.ROWS).write_text("".join(json.dumps(each) + "\n" for each in everything()))
    assert "bench-faults.svg" in comparison.section(tmp_path, tmp_path)


def test_medians_of_even_series_lie_between() -> None:
    """The summary's p50 is the median, not one of the two in the middle."""
    assert summary.spread([1.0, 2.0])["p50"] == median([1.0, 2.0]) == 1.5
