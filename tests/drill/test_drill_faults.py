"""The table of faults: complete, set by the file and the command line, each with a verdict that can fail."""

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest
from drill_rows import run_row

from understudy.cli.drill import _values
from understudy.config import drills, load_plan
from understudy.config.drills import DRILLS
from understudy.config.plan import Group
from understudy.config.problems import Problems
from understudy.drill import flood
from understudy.drill.agreement import AGREED_MAX
from understudy.drill.fault import Strike, timing_of
from understudy.drill.faults import FAULTS, configure, settle_time
from understudy.drill.phrases import speaker
from understudy.drill.tablefaults import CARRIED_RATE, copied_within
from understudy.errors import DecodeError, OperatorError
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, NetworkName, NodeName
from understudy.wire.frame import parse_frame
from understudy.wire.vrrp import decode_packet

ROOT = Path(__file__).parents[2]
PAIR = ROOT / "examples" / "pair.yaml"
DUAL = ROOT / "examples" / "dual-stack.yaml"
MS = MILLISECOND
NAMES = {
    *("one-way-loss", "packet-loss", "packet-corrupt", "partition", "flap", "agent-pause", "cpu-starve", "slow-kernel"),
    *("clock-step", "disk-full", "rules-flushed", "address-deleted", "peer-misconfigured", "hostile-flood"),
    *("node-return", "sync-loss", "sync-path-flap", "flows-kill", "flows-freeze", "standby-stale", "event-overrun"),
    "conntrack-full",
}


def group(file: Path = PAIR) -> Group:
    return load_plan(file).groups[0]


def broken(fault: str, change: dict[str, Any], **values: Any) -> list[str]:
    """What the verdict says of a run that is in order but for `change`."""
    row = run_row(role_changes_by_node={"gw1": 1, "gw2": 1} if fault == "partition" else {})
    bound = configure(fault, values).bound(timing_of(group()))
    return bound.broken_by({**row, **change})  # type: ignore[typeddict-item]  # a test names the fields that it means


def test_every_fault_has_its_name_its_parameters_and_a_sentence() -> None:
    """Those that scripts rely on are there; nothing can be set that no fault knows, and the other way round."""
    assert NAMES <= FAULTS.keys() == DRILLS.keys()
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert fault.sentence.endswith(".")
        assert fault.bound(timing_of(group())).sentence
        assert fault.parameters.keys() == {parameter.name for parameter in DRILLS[name]}


@pytest.mark.parametrize(
    ("fault", "values", "change", "word"),
    [
        ("one-way-loss", {}, {"outage_ms": 401.0}, "above the bound"),
        ("packet-loss", {}, {"packets_lost": 1}, "packets lost"),
        ("packet-corrupt", {}, {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("partition", {}, {"dual_answer_ms": 3300.0}, "two nodes answered"),
        ("sync-loss", {}, {"packets_lost": 1}, "packets lost"),
        ("sync-path-flap", {}, {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("flows-kill", {"node": "standby"}, {"packets_lost": 1}, "packets lost"),
        ("flows-freeze", {}, {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("event-overrun", {}, {"packets_lost": 1}, "packets lost"),
        ("conntrack-full", {}, {"packets_lost": 1}, "packets lost"),
        ("standby-stale", {}, {"outage_ms": 2400.0}, "above the bound"),
        ("standby-stale", {}, {"dual_answer_ms": 2.0}, "two nodes answered"),
        ("partition", {}, {"dual_answer_ms": 0.0}, "did not do what it says"),
        ("partition", {"paths": "heartbeat"}, {"dual_answer_ms": 2.0}, "two nodes answered"),
        ("flap", {}, {"role_changes_by_node": {"gw1": 3}}, "role changes"),
        ("agent-pause", {}, {"dual_answer_ms": 2.0}, "two nodes answered"),
        ("cpu-starve", {}, {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("slow-kernel", {}, {"packets_lost": 1}, "packets lost"),
        ("clock-step", {}, {"packets_lost": 21}, "packets lost"),
        ("disk-full", {}, {"packets_lost": 1}, "packets lost"),
        ("rules-flushed", {}, {"tcp_reset": 1}, "reset or refused"),
        ("rules-flushed", {}, {"refused_connects": 1}, "reset or refused"),
        ("address-deleted", {}, {"outage_ms": 126.0}, "above the bound"),
        ("peer-misconfigured", {}, {"role_changes_by_node": {"gw2": 1}}, "role changes"),
        ("hostile-flood", {}, {"role_changes_by_node": {"gw1": 1}}, "role changes"),
        ("node-return", {}, {"packets_lost": 1}, "packets lost"),
        ("node-return", {"preempt": "on"}, {"role_changes_by_node": {"gw1": 2}}, "role changes"),
        ("node-return", {"preempt": "on"}, {"role_changes_by_node": {"gw1": 0}}, "must be"),
    ],
)
def test_every_verdict_can_fail(fault: str, values: dict[str, Any], change: dict[str, Any], word: str) -> None:
    """One run that breaks it, and the word that says so."""
    assert any(word in sentence for sentence in broken(fault, change, **values))


def test_both_may_answer_while_a_partition_lasts_and_not_longer() -> None:
    """Two nodes without a path between them: the overlap is the fault's own length, less the detection."""
    assert broken("partition", {"dual_answer_ms": 2800.0}) == []
    assert broken("partition", {"dual_answer_ms": 2800.0}, duration=SECOND) != []


def test_a_late_probe_is_not_the_pairs_outage_where_it_may_be_late() -> None:
    """Where milliseconds are judged such a run is void, and nothing is taken off."""
    late = {"outage_ms": 2400.0, "sender_stall_ms": 45.0}
    worst = configure("standby-stale", {}).bound(timing_of(group())).outage_max
    assert worst is not None
    assert broken("standby-stale", {**late, "outage_ms": worst / MS + 40}) == []
    assert "late" in broken("standby-stale", {**late, "outage_ms": worst / MS + 50})[0]
    assert broken("agent-kill", {**late, "outage_ms": 370.0}) != []


def test_an_overrun_has_time_for_what_it_lost_and_for_what_it_did_not() -> None:
    """Both at the rates that a pair is held to elsewhere; more cannot be lost than there was."""
    assert copied_within(0, 0, CARRIED_RATE) == AGREED_MAX
    assert copied_within(120_000, 0, CARRIED_RATE) == AGREED_MAX + 2 * SECOND
    assert copied_within(120_000, 60_000, 2 * CARRIED_RATE) == AGREED_MAX + 4 * SECOND
    assert copied_within(20_000, 50_000, CARRIED_RATE) == AGREED_MAX + SECOND
    assert copied_within(120_000, 60_000, CARRIED_RATE / 2) == AGREED_MAX + 8 * SECOND


def test_what_is_set_reaches_the_fault() -> None:
    """A longer pause is waited for; defaults fill in the rest."""
    timing = timing_of(group())
    short, long = (configure("agent-pause", {"duration": seconds * SECOND}) for seconds in (1, 10))
    assert settle_time(long, timing) - settle_time(short, timing) == 9 * SECOND
    assert configure("packet-loss", {"share": 0.5}).parameters == {"share": 0.5, "duration": 5 * SECOND}


def test_a_return_is_judged_by_whether_the_file_preempts() -> None:
    """`as-is` is what the group does; `on` and `off` change the file that the lab is built from."""
    plan = load_plan(PAIR)
    assert configure("node-return", {}, plan.groups[0]).bound(timing_of(group())).packets_lost_max == 0
    fault = configure("node-return", {"preempt": "on"}, plan.groups[0])
    assert fault.plan(plan).groups[0].preempt
    assert fault.bound(timing_of(group())).role_changes_min == 1


def test_every_sentence_is_there_in_korean() -> None:
    """What `--list --lang ko` and a report show, for every fault and parameter."""
    say = speaker("ko")
    sentences = [fault.sentence for fault in FAULTS.values()]
    sentences += [parameter.sentence for parameters in DRILLS.values() for parameter in parameters]
    sentences.append(configure("partition", {"paths": "heartbeat"}).sentence)
    assert [sentence for sentence in sentences if say(sentence) == sentence] == []


# --- the file and the command line


def test_the_reference_lists_every_parameter() -> None:
    """The table between the marks is that of the code; UNDERSTUDY_GOLDEN_UPDATE=1 writes it anew."""
    rows = "".join(
        f"| `{fault}` | `{one.name}` | `{one.default}` | {one.range} | {one.sentence} |\n"
        for fault, parameters in DRILLS.items()
        for one in parameters
    )
    head = "| fault | parameter | default | may be | meaning |\n|---|---|---|---|---|\n"
    table = f"<!-- drills -->\n{head}{rows}<!-- /drills -->"
    page = ROOT / "docs" / "reference" / "file.md"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        text = re.sub(r"<!-- drills -->.*<!-- /drills -->", lambda _: table, page.read_text(), flags=re.DOTALL)
        page.write_text(text)
    assert table in page.read_text()


def test_the_file_sets_parameters_and_no_node_cares(tmp_path: Path) -> None:
    """What is written is read, in its unit; the digest that the nodes compare stays the same."""
    file = tmp_path / "pair.yaml"
    file.write_text(PAIR.read_text() + "drills:\n  packet-loss: {share: 12.5%, duration: 2s}\n  flap: {times: 3}\n")
    assert drills.load_drills(file) == {"packet-loss": {"share": 0.125, "duration": 2 * SECOND}, "flap": {"times": 3}}
    assert load_plan(file).digest == load_plan(PAIR).digest


@pytest.mark.parametrize(
    ("section", "code", "place", "hint"),
    [
        ("paket-loss: {share: 30%}", "E2330", "drills.paket-loss", "packet-loss"),
        ("packet-loss: {shar: 30%}", "E2331", "drills.packet-loss.shar", "share"),
        ("packet-loss: {share: 30}", "E2332", "drills.packet-loss.share", "30%"),
        ("packet-loss: {share: 130%}", "E2333", "drills.packet-loss.share", ""),
        ("packet-loss: {duration: 1h}", "E2113", "drills.packet-loss.duration", ""),
        ("partition: {paths: some}", "E2116", "drills.partition.paths", "heartbeat"),
        ("flap: {times: many}", "E2105", "drills.flap.times", "1 to 100"),
        ("flap: 3", "E2103", "drills.flap", "flap"),
        ("flap: {times: 3, period: 1x}", "E2112", "drills.flap.period", "100ms"),
    ],
)
def test_a_mistake_is_shown_on_its_own_line(section: str, code: str, place: str, hint: str) -> None:
    """With the code, the place and what was probably meant."""
    with pytest.raises(Problems) as refused:
        load_plan(f"{PAIR.read_text()}drills:\n  {section}\n".encode())
    (problem,) = refused.value.problems
    assert (problem.code, problem.path) == (code, place)
    assert problem.line == len(PAIR.read_text().splitlines()) + 2
    assert hint in problem.hint


def test_the_command_line_sets_parameters_of_all_or_of_one() -> None:
    """`duration=2s` for whoever has one, `flap.times=9` for one."""
    values = _values(["duration=2s", "flap.times=9"], ["packet-loss", "flap", "switchover"])
    assert values == {"packet-loss": {"duration": 2 * SECOND}, "flap": {"times": 9}, "switchover": {}}


@pytest.mark.parametrize(
    "setting", ["share=50%", "flap", "flap.share=1%", "flap.times=0", "packet-loss.share=50%", "no-such.share=1%"]
)
def test_a_setting_that_concerns_nothing_is_refused(setting: str) -> None:
    """At once, before a lab is built."""
    with pytest.raises(OperatorError):
        _values([setting], ["flap", "switchover"])


# --- what a hostile host sends


def frames(content: str, file: Path = PAIR) -> list[bytes]:
    lab = Lab(load_plan(file), Path("/nowhere"))
    network = NetworkName(lab.plan.groups[0].routers[0].network)
    strike = Strike(lab, lab.plan.groups[0], NodeName("gw1"), NodeName("gw2"), network)
    port = lab.topology.port(f"client-{network}", network)
    return flood.hostile_frames(strike, port, content)


def believed(frame: bytes) -> bool:
    """Whether it is a sound advertisement of the group's virtual router."""
    vrids = {router.vrid for file in (PAIR, DUAL) for router in group(file).routers}
    try:
        return decode_packet(parse_frame(frame)).vrid in vrids
    except DecodeError:
        return False


@pytest.mark.parametrize("file", [PAIR, DUAL])
def test_junk_is_junk_and_forged_advertisements_are_sound(file: Path) -> None:
    """Or the flood would prove nothing: nothing of the junk decodes, and everything that is forged does."""
    assert [frame for frame in frames("junk", file) if believed(frame)] == []
    forged = frames("forged", file)
    assert len(forged) >= 16
    assert all(believed(frame) for frame in forged)
    assert len(frames("mixed", file)) == len(frames("junk", file)) + len(forged)


def test_a_spoofed_advertisement_comes_in_the_standbys_name() -> None:
    """From its address and the virtual MAC address, with a higher priority than any node of the group has."""
    (frame,) = frames("spoofed")
    advertisement = decode_packet(parse_frame(frame))
    assert str(parse_frame(frame).source) == "203.0.113.2"
    assert frame[6:11] == bytes.fromhex("00005e0001")
    assert advertisement.priority > max(group().priorities.values())


# --- clocks


def test_nothing_on_the_path_of_a_decision_reads_the_wall_clock() -> None:
    """A step of the realtime clock cannot be made in a namespace: what does not read it cannot mind it.

    The store begins a node's epoch with it (an epoch only has to grow). The others tell people of a time of day, or of
    an age: the kernel stamps flows with it.
    """
    readers = set()
    for package in ("core", "wire", "adapters", "agent", "render"):
        for path in (ROOT / "src/understudy" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
                owner = getattr(getattr(node, "value", None), "id", "")
                if named in ("CLOCK_REALTIME", "utcnow", "today") or (owner, named) in _WALL_CLOCKS:
                    readers.add(f"{package}/{path.name}")
    tellers = {"agent/nat_history.py", "agent/nat_figures.py", "agent/nat_view.py"}
    tellers |= {"agent/draining.py", "agent/drain_look.py"}
    assert readers == {"agent/store.py", *tellers}


_WALL_CLOCKS = {
    (owner, name) for owner in ("time", "datetime") for name in ("time", "time_ns", "now", "ctime", "gmtime")
}
