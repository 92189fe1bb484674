"""The whole command against a real pair in the lab, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from understudy.config.drills import Value
from understudy.drill import measure
from understudy.drill import run as drill_run
from understudy.drill.measure import DATAGRAM_PERIOD
from understudy.drill.result import DrillJson
from understudy.drill.session import Request, rehearse
from understudy.units import MILLISECOND, SECOND, Duration

PAIR = Path(__file__).parents[2] / "examples" / "pair.yaml"
COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()", "drill", str(PAIR)]
ALWAYS = {
    "outage_ms",
    "phases_ms",
    "packets_sent",
    "packets_lost",
    "tcp_established",
    "tcp_survived",
    "tcp_reset",
    "tcp_stalled",
    "refused_connects",
    "dual_answer_ms",
    "role_changes",
    "events",
}
"""The fields of a run that scripts rely on."""
ROUNDED_MS = 0.1
"""What the sum of some figures may be off by, each of which is rounded to microseconds."""


def test_a_power_loss_is_survived_measured_and_reported(tmp_path: Path) -> None:
    """One run: JSON with every promised field, a page, a drawing, a table without colour, and exit code 0 or 2."""
    result, html, svg = tmp_path / "result.json", tmp_path / "report.html", tmp_path / "timeline.svg"
    done = subprocess.run(
        [*COMMAND, "--runs", "1", "--tcp", "20", "--json", str(result), "--html", str(html), "--svg", str(svg)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    told = done.stderr.splitlines()
    assert told, "a log shows that something goes on"
    assert all(line.startswith("node-power-loss: ") and "\x1b" not in line for line in told)
    assert "\x1b" not in done.stdout
    drill = json.loads(result.read_text())
    assert (drill["schema"], drill["fault"], drill["advertise_ms"]) == ("understudy.drill/1", "node-power-loss", 100)
    (run,) = drill["runs"]
    assert run.keys() >= ALWAYS
    assert run["recovered"]
    assert 150 < run["outage_ms"] < 3000, "a crash cannot be noticed sooner, and no machine is that slow"
    assert run["tcp_established"] == 20
    assert run["packets_lost"] >= run["outage_ms"] - 5
    assert run["dual_answer_ms"] == 0
    last, resumed = (next(e["t_ms"] for e in run["events"] if e["kind"] == kind) for kind in ("silence", "resumed"))
    # Phases begin with the fault, an outage with the last datagram before the gap: until the node's power is off, and
    # that takes what it takes, some still arrive. On a busy machine some of before are late or lost as well.
    assert abs(last) < 100, "the gap is the fault's"
    assert sum(run["phases_ms"].values()) == pytest.approx(resumed, abs=ROUNDED_MS)
    assert run["outage_ms"] == pytest.approx(resumed - last - DATAGRAM_PERIOD / MILLISECOND, abs=ROUNDED_MS)
    assert "node-power-loss" in html.read_text()
    assert svg.read_text().startswith("<svg")


def descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [deeper for child in found for deeper in descendants(child)]


def test_ctrl_c_ends_the_lab_and_everything_in_it() -> None:
    """Interrupted while the pair runs: exit code 1, and no process of it is left.

    A shell's background jobs ignore Ctrl-C, and so would what they start.
    """
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    command = subprocess.Popen([*COMMAND, "--runs", "20"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, ignored)
    with command:
        deadline = time.monotonic() + 20
        while len(inside := descendants(command.pid)) < 10 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(inside) >= 10
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == 1
    deadline = time.monotonic() + 10
    while (left := [pid for pid in inside if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_a_mistyped_fault_changes_nothing_and_names_them_all() -> None:
    """Exit code 1, a code and a hint, at once."""
    done = subprocess.run([*COMMAND, "--fault", "power-cut"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "E6402" in done.stderr
    assert "link-silent" in done.stderr


def test_faults_with_parameters_are_set_judged_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most advertisements damaged, then no path between the nodes: each does what it says, by what was set.

    Nothing here is about milliseconds, so a late probe of a busy machine shall not void a run. Nor shall a late agent
    move the group where nothing else does; a partition outlasts the short timers.
    """
    monkeypatch.setattr(measure, "STALL_LIMIT", 2 * SECOND)

    def drill(fault: str, advertise: Duration, **values: Value) -> DrillJson:
        asked = Request(PAIR, fault, 1, 10, advertise, lease=True, seed=1, parameters=values)
        return rehearse(asked, lambda _: None)

    corrupt = drill("packet-corrupt", 400 * MILLISECOND, share=0.7, duration=2 * SECOND)
    assert corrupt["parameters"] == {"share": "70%", "duration": "2s"}
    (run,) = corrupt["runs"]
    assert run["measures"]["packets_struck"] > 0
    assert run["role_changes"] == 0
    partition = drill("partition", 100 * MILLISECOND, duration=SECOND)
    (run,) = partition["runs"]
    assert run["dual_answer_ms"] > 0, "both served meanwhile"
    assert [move["node"] for move in run["decisions"]]
    assert partition["bound"].get("dual_answer_min_ms")


STATEFUL = Path(__file__).parents[2] / "examples" / "stateful.yaml"


def stateful_drill(monkeypatch: pytest.MonkeyPatch, advertise_ms: int = 300, **options: Any) -> DrillJson:
    """A power loss of the stateful pair under 50 connections and 10 idle datagrams; no milliseconds judged.

    Its timers are long enough for a late agent not to move the group before the strike.
    """
    monkeypatch.setattr(measure, "STALL_LIMIT", 2 * SECOND)
    asked = Request(
        STATEFUL, "node-power-loss", 1, 50, advertise_ms * MILLISECOND, lease=True, seed=1, udp=10, **options
    )
    return rehearse(asked, lambda _: None)


def test_replicated_connections_live_through_a_power_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, busy and idle, TCP and UDP, and no address was before its state."""
    (run,) = stateful_drill(monkeypatch, idle_share=0.5)["runs"]
    assert (run["tcp_established"], run["tcp_survived"], run["tcp_reset"], run["tcp_corrupted"]) == (50, 50, 0, 0)
    assert (run["udp_established"], run["udp_survived"]) == (10, 10)
    assert (run["vip_before_state"], run["flows_mismatched"]) == (0, 0)
    assert run["flows_active"] is not None
    assert run["flows_active"] >= 50
    assert run["flows_standby"] is not None
    assert run["flows_standby"] >= 50
    assert run["sync_lag_flows"] > 0


def test_slow_writing_holds_the_address_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate waits for what was received; the connections live. What is written late is so only after a take-over of
    0.6 s, and twice that delay is well within the gate's deadline.
    """
    (run,) = stateful_drill(monkeypatch, 150, sync_delay=650 * MILLISECOND)["runs"]
    assert run["vip_before_state"] == 0
    assert run["tcp_survived"] == 50
    assert (run["sync_lag_ms"] or 0) >= 100


def test_without_the_gate_addresses_are_seen_before_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the measurement: slow writing, and nobody waits for it."""
    drill = stateful_drill(monkeypatch, 100, sync_delay=SECOND, gate=False)
    (run,) = drill["runs"]
    assert (run["vip_before_state"] or 0) > 0
    assert not drill["verdict"]["passed"]
    assert "as it must be" in drill["verdict"]["reasons"][-1]


def test_without_replication_idle_datagrams_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other control: what nobody kept, nobody knows. All is asked for in vain, so not for as long as elsewhere."""
    monkeypatch.setattr(drill_run, "STALLED_AFTER", 2 * SECOND)
    (run,) = stateful_drill(monkeypatch, state="none")["runs"]
    assert (run["udp_established"], run["udp_survived"]) == (10, 0)
    assert (run["flows_standby"], run["vip_before_state"]) == (0, 0)
    assert (run["flows_unsent"] or 0) >= 50
