"""The benchmark of established connections: what the peers are told, what is planned, and what rows come to."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import beds
import commands
import conntrackd
import flows
import injector
import lag
import pytest
import state
from contenders import keepalived_config
from flowparts import ALL, PARTS
from programs import COLUMNS, PROGRAMS, programs_section

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.drill import flowtable
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace
from understudy.units import NodeName
from understudy.wire.marks import GROUP_MASK

PORTS = {"outside": "eth0", "inside": "eth1", "sync": "eth2"}
RUN_DIR = Path("/tmp/lab/gw2")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(flows.FILE)


# -- what conntrackd and keepalived are told --


def test_conntrackd_speaks_on_the_network_of_the_gateways_alone(plan: Plan) -> None:
    """Neither LAN of the group is it, and each end names the other."""
    assert conntrackd.sync_network(plan) == "sync"
    text = conntrackd.conntrackd_config(plan, NodeName("gw2"), RUN_DIR, PORTS, direct=False)
    for line in (
        "Mode FTFW", "IPv4_address 192.168.250.2", "IPv4_Destination_Address 192.168.250.1", "Interface eth2",
        "DisableExternalCache no", f"Path {RUN_DIR}/conntrackd.ctl", f"LockFile {RUN_DIR}/conntrackd.lock",
    ):  # fmt: skip
        assert line in text
    assert text.count("{") == text.count("}")
    direct = conntrackd.conntrackd_config(plan, NodeName("gw2"), RUN_DIR, PORTS, direct=True)
    assert set(direct.splitlines()) ^ set(text.splitlines()) == {
        "        DisableExternalCache yes",
        "        DisableExternalCache no",
    }


def test_conntrackd_ignores_what_the_gateways_say_themselves_and_nothing_else(plan: Plan) -> None:
    """Balanced flows go to the virtual address: ignoring that, as one is advised for firewalls, would lose them."""
    text = conntrackd.conntrackd_config(plan, NodeName("gw1"), RUN_DIR, PORTS, direct=False)
    ignored = text.partition("Address Ignore")[2]
    for own in ("203.0.113.1\n", "203.0.113.2\n", "10.9.0.1\n", "10.9.0.2\n", "192.168.250.1\n", "127.0.0.1\n"):
        assert f"IPv4_address {own}" in ignored
    for virtual in ("203.0.113.10", "10.9.0.254"):
        assert virtual not in ignored


def test_without_a_network_of_their_own_they_share_the_inner_one(plan: Plan) -> None:
    nodes = tuple(
        replace(node, attachments=tuple(a for a in node.attachments if a.network != "sync")) for node in plan.nodes
    )
    assert conntrackd.sync_network(replace(plan, nodes=nodes)) == "inside"


def test_keepalived_tells_conntrackd_of_every_move(plan: Plan) -> None:
    """On becoming master: commit, flush, resync, bulk update, in that order."""
    script = conntrackd.notify_script(RUN_DIR, Path("/peers"), "/peers/lib", direct=False)
    primary = script.partition("primary)\n")[2].partition(";;")[0]
    assert [line.split()[-1] for line in primary.splitlines() if "tell" in line] == ["-c", "-f", "-R", "-B"]
    backup = script.partition("backup)\n")[2].partition(";;")[0]
    assert [line.split()[-1] for line in backup.splitlines() if "tell" in line] == ["-t", "-n"]
    config = keepalived_config(plan, NodeName("gw2"), RUN_DIR, PORTS, vmac=False, notify=RUN_DIR / "notify")
    for move, word in (("master", "primary"), ("backup", "backup"), ("fault", "fault")):
        assert f'notify_{move} "{RUN_DIR}/notify {word}"' in config
    assert config.count("{") == config.count("}")


def test_who_keeps_state_takes_over_again_after_a_while_only_if_the_file_lets_it(plan: Plan) -> None:
    group = plan.groups[0]
    told = {}
    for preempt in (True, False):
        asked = replace(plan, groups=(replace(group, preempt=preempt),))
        told[preempt] = keepalived_config(asked, NodeName("gw2"), RUN_DIR, PORTS, vmac=False, notify=RUN_DIR / "n")
    assert "nopreempt" in told[False]
    assert "preempt_delay" not in told[False]
    assert "preempt_delay 5" in told[True]
    assert "nopreempt" not in told[True]


def test_what_conntrackd_says_is_read() -> None:
    statistics = (
        "cache internal:\ncurrent active connections:\t       12\n\ncache external:\ncurrent active connections:\t 7\n"
    )
    assert conntrackd.cached(statistics) == {"internal": 12, "external": 7}
    assert conntrackd.cached("external inject:\nconnections created: 3\n") == {}
    log = "[notice] Committed 5 new entries\n[notice] commit has taken 0.000336 seconds\n[notice] sending bulk update\n"
    assert conntrackd.commits_s(log) == [0.000336]


# -- what is written into kernels, and what they say --


def test_made_flows_are_each_another_and_belong_to_the_group(plan: Plan) -> None:
    """And a template's message is the one that was meant."""
    target = injector.target_of(plan)
    made = [flowtable.decode(message[16:]) for message in injector.fill(target, 200, first=49_900)]
    assert len({flow.key for flow in made}) == 200
    assert {flow.mark & GROUP_MASK for flow in made} == {plan.groups[0].number << 10}
    assert all(injector.is_injected(flow.key) for flow in made)
    address, port = injector.client_of(7)
    assert injector.Template(injector.creation, target).of(7) == injector.creation(target, address, port)


def test_whole_lives_end_with_the_table_as_it_was(plan: Plan) -> None:
    """Every flow is created, changed and deleted, in that order."""
    seen: dict[bytes, list[int]] = {}
    for message in injector.life(injector.target_of(plan), 300, apart=10):
        kind, flags = int.from_bytes(message[4:6], "little"), int.from_bytes(message[6:8], "little")
        step = 2 if kind == flowtable.IPCTNL_MSG_CT_DELETE else 0 if flags & flowtable.NLM_F_CREATE else 1
        seen.setdefault(flowtable.decode(message[16:]).key, []).append(step)
    assert len(seen) == 100
    assert set(map(tuple, seen.values())) == {(0, 1, 2)}


def _in_a_kernel() -> tuple[list[int], int, int]:
    """Counts after filling, after half was cleared, after 300 whole lives; refusals; marked and established ones."""
    target = injector.target_of(load_plan(flows.FILE))
    there = Namespace.create("kernel")
    counts, refused, steady = [], 0, 0
    for messages in (
        injector.fill(target, 100),
        injector.clear(target, 50),
        injector.life(target, 300, first=1000, apart=10),
    ):
        refused += there.run(injector.write_here, injector.batches(messages)).refused
        counts.append(there.run(state.count_here))
        steady = len(state.steady(state.flows_in(there.run(state.dump_here))))
    # Control: what is there already is refused, and told.
    again = there.run(injector.write_here, injector.batches(injector.fill(target, 1, first=60)))
    assert again.refused == 1
    return counts, refused, steady


def test_a_kernel_takes_what_is_made() -> None:
    assert sandbox.run(_in_a_kernel) == ([100, 50, 50], 0, 50)


NETLINK = """sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 12  1001       00000007 0        0        0     2        41       5001
0000000000000000 12  1002       00000000 0        0        0     2        9        5002
0000000000000000 12  1003       00000040 0        0        0     2        3        5003
0000000000000000 0   1004       00000007 0        0        0     2        5        5004
"""


def test_lost_events_are_those_of_who_hears_conntrack() -> None:
    """Not of sockets for rules, for requests, or of another family."""
    assert state.drops_in(NETLINK) == 41
    assert state.listeners_in(NETLINK) == {"5001"}


def test_lag_counts_from_the_active_to_the_standby() -> None:
    """What never came is missing, and no lag."""
    found = lag.lags(({b"a": 1_000_000, b"b": 2_000_000, b"c": 3_000_000}, {b"a": 1_500_000, b"b": 6_000_000}))
    assert (found["flows"], found["missing"], found["p50_ms"], found["max_ms"]) == (3, 1, 0.5, 4.0)
    assert lag.lags(({b"a": 1}, {}))["p99_ms"] is None


def test_only_established_flows_of_a_group_have_a_lag(plan: Plan) -> None:
    target = injector.target_of(plan)
    owned, own = (injector.Template(injector.creation, each).of(1) for each in (target, replace(target, mark=0)))
    closing = injector.Template(injector.change, target).of(2)
    first = lag.established([(5, 0, owned), (6, 0, closing), (7, 0, own), (9, 1, owned), (11, 1, owned)])
    key = flowtable.decode(owned[16:]).key
    assert first == ({key: 5}, {key: 9})


def test_the_gate_is_timed_by_the_journal(tmp_path: Path) -> None:
    """From its step's beginning to its end, of the promotion that was asked about."""
    lines = [
        {"t": 1, "step": "gate"},
        {"t": 2, "step": "gate"},
        {"t": 5_000_000, "step": "gate"},
        {"t": 8_000_000, "step": "gate"},
    ]
    journal = tmp_path / "events.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{half a li")
    assert beds.gate_ms(journal, 1_000_000) == 3.0
    assert beds.gate_ms(journal, 9_000_000) is None


# -- plans and rows --


def test_every_part_is_measured_by_one_thing_and_shown_on_the_page() -> None:
    for part in PARTS:
        assert sum(each is not None for each in (part.strike, part.bed, part.command)) == 1
        assert f"flows-{part.name}" in PROGRAMS.keys() & COLUMNS.keys()


def test_runs_are_shuffled_alike_on_every_start_and_share_their_phases() -> None:
    part = PARTS[0]
    planned = flows.plan_runs(part, ALL, None, quick=False)
    assert planned == flows.plan_runs(part, ALL, None, quick=False)
    assert [run.contender for run in planned] != sorted(run.contender for run in planned)
    counts = Counter(run.contender for run in planned)
    assert counts == {"understudy": 30, "conntrackd": 30, "conntrackd-direct": 30, "unreplicated": part.control_runs}
    phases = {name: sorted(run.phase for run in planned if run.contender == name) for name in ALL[:2]}
    assert phases["understudy"] == phases["conntrackd"]
    assert len(set(phases["understudy"])) == 30


def test_what_has_a_believed_row_is_not_measured_again() -> None:
    planned = flows.plan_runs(PARTS[0], ["understudy"], 2, quick=False)
    rows = [
        flows.row_of(planned[0], 0.0, {"outage_ms": 150.0}),
        flows.row_of(planned[1], 0.0, {"void": "the asker stalled for 9.1 ms"}),
    ]
    assert flows.left_of(planned, rows) == [planned[1]]
    assert flows.left_of(planned, []) == planned


def test_what_apply_did_is_summed_over_its_steps() -> None:
    """A step that measured nothing leaves the total unknown, not smaller."""
    step = {"node": "gw1", "action": "adopt", "took_ms": 12.4, "packets_lost": 1, "connections_lost": 0}
    row = commands.summary_of({"result": "done", "steps": [step, {**step, "node": "gw2"}], "findings": []})
    assert (row["packets"], row["connections_lost"], row["steps"]) == (2, 0, ["gw1 adopt", "gw2 adopt"])
    assert commands.summary_of({"steps": [step, {**step, "packets_lost": None}]})["packets"] is None


def test_every_change_is_another_file_that_can_be_run(tmp_path: Path) -> None:
    """And they end where they began."""
    first = text = (commands.ROOT / commands.FILE).read_text()
    digests = [load_plan(text.encode()).digest]
    for change in commands.CHANGES[:-1]:
        text = change.edit(text)
        digests.append(load_plan(text.encode()).digest)
        assert digests[-1] != digests[-2], change.name
    assert text == first
    with pytest.raises(ValueError, match="do not fit"):
        commands.CHANGES[1].edit(first)


def test_a_drills_row_keeps_its_figures_and_not_its_pictures() -> None:
    row = commands.slim({"number": 3, "outage_ms": 150.0, "events": [{"text": "x" * 500}]})
    assert row == {"outage_ms": 150.0, "number_in_command": 3}


def test_the_page_shows_the_worst_of_each_contender() -> None:
    """Void runs are counted and not shown; of survivors the least is the worst."""
    run = {"contender": "understudy", "case": "", "of": 30, "at": "10:00:00", "took_s": 9.0, "tcp_established": 2000}
    rows = [
        {**run, "number": number, "void": "", "tcp_survived": survived, "outage_ms": outage}
        for number, (survived, outage) in enumerate(((2000, 150.0), (1999, 160.0), (2000, 155.0)))
    ]
    rows.append({**run, "number": 3, "void": "stalled", "tcp_survived": 0, "outage_ms": 900.0})
    page = programs_section({"flows-survival": {"claim": "c", "command": "x", "exit": 0, "rows": rows}})
    assert "| understudy | 3 of 30 | 155, max 160 | 2 000 | 2 000, min 1 999 |" in page
    assert "* understudy: void 1 (stalled: 1); runs asked for without a row that counts: 27" in page
    assert "900" not in page
