"""`init`, `check`, `plan` and `keygen` as an operator calls them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAIR = ROOT / "examples" / "pair.yaml"


def understudy(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a terminal would, but without one."""
    command = [sys.executable, "-c", "from understudy.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, env=environment, check=False)


def answer(done: subprocess.CompletedProcess[str], schema: str) -> dict[str, Any]:
    """The JSON document on standard output, of the schema named."""
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == schema
    return document


def test_check_says_fine_and_ends_with_zero() -> None:
    """A good file is one line; with --json it has no problems."""
    done = understudy("check", PAIR)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{PAIR}: fine; 3 networks, 4 nodes, 1 group, 1 service\n"
    document = answer(understudy("check", PAIR, "--json"), "understudy.check/1")
    assert (document["ok"], document["problems"]) == (True, [])


def test_check_names_every_problem_and_ends_with_one() -> None:
    """In text the golden messages and their number, in JSON the same problems in the same order."""
    bad = ROOT / "tests" / "golden" / "config" / "many-at-once.yaml"
    done = understudy("check", bad.name, cwd=bad.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == bad.with_suffix(".txt").read_text(encoding="utf-8") + "8 problems in many-at-once.yaml\n"
    done = understudy("check", bad, "--json")
    assert done.returncode == 1
    problems = answer(done, "understudy.check/1")["problems"]
    assert len(problems) == 8
    assert problems[1] == {
        "code": "E2202",
        "line": 8,
        "column": 18,
        "path": "nodes.gw2.outside",
        "message": "203.0.114.2 is not in 203.0.113.0/24, the prefix of outside",
        "hint": "",
    }


def test_init_writes_an_example_that_passes_and_names_its_schema(tmp_path: Path) -> None:
    """The first line leads editors to a schema that is there."""
    assert understudy("init", tmp_path / "new" / "pair.yaml").returncode == 0
    file = tmp_path / "new" / "pair.yaml"
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = file.parent / first.partition("=")[2]
    assert schema.read_bytes() == (ROOT / "schema" / "understudy.schema.json").read_bytes()
    assert understudy("check", file).returncode == 0


def test_init_never_overwrites(tmp_path: Path) -> None:
    """A second call leaves the operator's file as it is."""
    (tmp_path / "understudy.yaml").write_text("mine\n", encoding="utf-8")
    done = understudy("init", tmp_path)
    assert done.returncode == 1
    assert "E2704" in done.stderr
    assert (tmp_path / "understudy.yaml").read_text(encoding="utf-8") == "mine\n"


def test_keygen_writes_one_key(tmp_path: Path) -> None:
    """Once; the second call refuses."""
    done = understudy("keygen", "--json", cwd=tmp_path)
    assert answer(done, "understudy.keygen/1")["file"] == "cluster.key"
    assert (tmp_path / "cluster.key").stat().st_mode & 0o777 == 0o600
    assert understudy("keygen", cwd=tmp_path).returncode == 1


def test_plan_shows_what_a_node_becomes() -> None:
    """Addresses, VRRP instances, rules, sysctls and nftables text, with the defaults filled in."""
    done = understudy("plan", PAIR, "--node", "gw2")
    assert done.returncode == 0
    assert "node gw2" in done.stdout
    assert "node gw1" not in done.stdout
    for part in ("priority 240", "00:00:5e:00:01:", "sysctl net/ipv4/ip_forward = 1", "table netdev", "rise 2, fall 3"):
        assert part in done.stdout
    document = answer(understudy("plan", PAIR, "--json"), "understudy.plan/1")
    assert [node["name"] for node in document["nodes"]] == ["gw1", "gw2", "web1", "web2"]
    assert [entry["priority"] for entry in document["nodes"][0]["instances"]] == [250, 250]
    assert "table" in document["nodes"][0]["kernel"]["ruleset"]
    assert document["nodes"][2]["instances"] == []


def test_plan_says_what_state_costs_and_what_is_lost() -> None:
    """For each service and translation, and the gate of each group, in both languages and as JSON; no figures."""
    stateful = ROOT / "examples" / "stateful.yaml"
    said = understudy("plan", stateful, "--node", "web1").stdout
    assert said.count("state replicate costs: an entry in both kernels") == 2
    assert said.count("a fail-over loses: what the active node had not yet sent") == 2
    assert "gate: addresses answer once" in said
    assert "after 2s without them" in said
    assert "data connections of ftp are let through" in said
    korean = understudy("plan", stateful, "--node", "web1", "--lang", "ko").stdout
    assert korean.count("상태 replicate 비용: ") == korean.count("장애 조치 때 잃는 것: ") == 2
    assert "관문: " in korean
    document = answer(understudy("plan", stateful, "--json"), "understudy.plan/1")
    assert document["groups"][0]["gate"]["stateful"] is True
    assert document["services"][0]["keeping"]["lost"] in said
    assert (document["nat"][0]["state"], document["nat"][0]["helpers"]) == ("replicate", ["ftp"])
    plain = understudy("plan", PAIR, "--node", "web1").stdout
    assert "gate: none, as nothing is replicated" in plain
    assert plain.count("state none costs: nothing") == 2


def test_plan_names_the_interval_of_copies_and_what_stands_beside_replication(tmp_path: Path) -> None:
    """The file's own values; a service without state loses more where the other flows are replicated."""
    text = PAIR.read_text(encoding="utf-8")
    copied = tmp_path / "copied.yaml"
    copied.write_text(
        text.replace("to: outside}", "to: outside, state: copy}").replace("100ms", "100ms\n    copy_every: 90s"),
        encoding="utf-8",
    )
    assert "up to 90s and the time that a copy takes" in understudy("plan", copied, "--node", "web1").stdout
    beside = tmp_path / "beside.yaml"
    beside.write_text(
        text.replace("to: outside}", "to: outside, state: replicate}").replace(
            "100ms", "100ms\n    require_sync: true"
        ),
        encoding="utf-8",
    )
    said = understudy("plan", beside, "--node", "web1").stdout
    assert "a fail-over loses: all connections: on a node with replicated flows none is picked up" in said
    assert "the node does not serve and tries again" in said


def test_plan_knows_its_nodes() -> None:
    """An unknown node is E2705 and the known ones are named."""
    done = understudy("plan", PAIR, "--node", "gw3")
    assert done.returncode == 1
    assert "E2705" in done.stderr
    assert "gw1, gw2, web1, web2" in done.stderr


def test_plan_of_a_bad_file_is_the_answer_of_check(tmp_path: Path) -> None:
    """Every command that reads the file shows all its problems."""
    bad = tmp_path / "bad.yaml"
    shutil.copy(PAIR, bad)
    bad.write_text(bad.read_text(encoding="utf-8").replace("100ms", "105ms"), encoding="utf-8")
    done = understudy("plan", bad)
    assert done.returncode == 1
    assert "E2113" in done.stderr
    assert "^^^^^" in done.stderr


@pytest.mark.parametrize("command", ["init", "check", "plan", "keygen"])
def test_every_command_explains_itself(command: str) -> None:
    """--help ends with zero and names --json."""
    done = understudy(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
