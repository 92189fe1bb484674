"""The parts that are not drills: each returns `rows`, one a repetition, in the unit that its name says."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
US = str(ROOT / ".venv/bin/understudy")
TICKS = os.sysconf("SC_CLK_TCK")


def run(*arguments: str, fine: tuple[int, ...] = (0,)) -> str:
    ended = subprocess.run([US, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in fine:
        raise RuntimeError(f"understudy {' '.join(arguments)}: {ended.stderr[-1000:]}")
    return ended.stdout


def many_nodes(total: int) -> str:
    """A pair in front of servers, `total` hosts with the two clients that the lab adds."""
    servers = total - 4
    lines = [
        "cluster: many",
        "networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/16}",
        "nodes:",
        "  gw1: {outside: 203.0.113.1, inside: 10.9.0.1}",
        "  gw2: {outside: 203.0.113.2, inside: 10.9.0.2}",
        *(f"  web{n}: {{inside: 10.9.{1 + n // 200}.{1 + n % 200}}}" for n in range(servers)),
        "redundancy:",
        "  edge: {mode: active-standby, nodes: [gw1, gw2], advertise: 100ms,",
        "         addresses: {outside: 203.0.113.10, inside: 10.9.0.254}}",
        "services:",
        *(
            f"  web{first}: {{listen: '203.0.113.10:{8000 + first}', check: {{tcp: true}}, servers: ["
            + ", ".join(f"'web{n}:8080'" for n in range(first, min(servers, first + 32)))
            + "]}"
            for first in range(0, servers, 32)
        ),
    ]
    return "\n".join(lines) + "\n"


def lab_up(scratch: Path, nodes: int, repetitions: int) -> dict[str, Any]:
    """Whole command, until every server answers its neighbours."""
    file = scratch / "many.yaml"
    file.write_text(many_nodes(nodes))
    rows = []
    for _ in range(repetitions):
        begun = time.monotonic()
        document = json.loads(run("lab", "up", str(file), "--json", "--no-wait"))
        took = time.monotonic() - begun
        rows.append({"wall_s": took, "reported_s": document["wall_s"], "hosts": len(document["nodes"]) - 1})
        run("lab", "down", "many")
    return {"command": f"understudy lab up many.yaml --json   # {nodes} nodes", "rows": rows}


def left_behind() -> dict[str, int]:
    """What a lab could leave: processes of ours, network namespaces, links, state."""
    processes = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            processes += "understudy" in Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue
    namespaces = len(
        {os.readlink(f"/proc/{p}/ns/net") for p in filter(str.isdigit, os.listdir("/proc")) if _readable(p)}
    )
    return {"processes": processes, "namespaces": namespaces, "links": len(os.listdir("/sys/class/net"))}


def _readable(pid: str) -> bool:
    try:
        os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return False
    return True


def lab_cycles(scratch: Path, cycles: int) -> dict[str, Any]:
    before = left_behind()
    begun = time.monotonic()
    for _ in range(cycles):
        run("lab", "up", "examples/pair.yaml", "--json")
        run("lab", "down")
    deadline = time.monotonic() + 5
    while (after := left_behind()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return {
        "command": "understudy lab up examples/pair.yaml; understudy lab down",
        "rows": [{"cycles": cycles, "before": before, "after": after, "wall_s": time.monotonic() - begun}],
    }


def simulator(scratch: Path, advertise: str, repetitions: int) -> dict[str, Any]:
    rows = []
    for number in range(repetitions):
        out = scratch / f"sim{number}.json"
        run(
            "sim", "examples/pair.yaml", "--seeds", "4", "--seconds", "600", "--advertise", advertise,
            "--json", str(out), fine=(0, 2),
        )  # fmt: skip
        document = json.loads(out.read_text())
        rows.append(
            {
                "simulated_s": document["simulated_s"],
                "wall_s": document["wall_s"],
                "speed": document["simulated_s"] / document["wall_s"],
                "violations": len(document["violations"]),
            }
        )
    return {
        "command": f"understudy sim examples/pair.yaml --seeds 4 --seconds 600 --advertise {advertise}",
        "rows": rows,
    }


def simulated_faults(scratch: Path, seeds: int) -> dict[str, Any]:
    out = scratch / "seeds.json"
    run("sim", "examples/pair.yaml", "--seeds", str(seeds), "--seconds", "600", "--json", str(out), fine=(0, 2))
    document = json.loads(out.read_text())
    row = {
        "what": "pair, all faults",
        "seeds": document["seeds"],
        "seconds_a_seed": document["seconds"],
        "violations": len(document["violations"]),
        "faults": sum(document["faults"].values()),
        "kinds_of_faults": len(document["faults"]),
        "role_changes": document["role_changes"],
        "events": document["events"],
        "wall_s": document["wall_s"],
    }
    return {
        "command": f"understudy sim examples/pair.yaml --seeds {seeds} --seconds 600",
        "exit": 2 if document["violations"] else 0,
        "rows": [row],
    }


def check_thousand(scratch: Path) -> dict[str, Any]:
    lines = Path(ROOT / "examples/pair.yaml").read_text().split("services:")[0]
    services = "".join(
        f"  s{n}: {{listen: '203.0.113.10:{1000 + n}', servers: [web1:8080, web2:8080], check: {{http: /healthz}}}}\n"
        for n in range(1000)
    )
    file = scratch / "thousand.yaml"
    file.write_text(f"{lines}services:\n{services}")
    rows = []
    for _ in range(9):
        begun = time.monotonic()
        run("check", str(file))
        rows.append({"wall_s": time.monotonic() - begun})
    return {"command": "understudy check thousand.yaml", "rows": rows}


def status_time(scratch: Path) -> dict[str, Any]:
    run("lab", "up", "examples/pair.yaml", "--json")
    try:
        time.sleep(2)
        rows = []
        for _ in range(30):
            begun = time.monotonic()
            run("status", fine=(0, 2))
            rows.append({"wall_ms": (time.monotonic() - begun) * 1000})
    finally:
        run("lab", "down")
    return {"command": "understudy status", "rows": rows}


def idle_node(scratch: Path) -> dict[str, Any]:
    """CPU and PSS of all processes of each node of an idle pair, ten windows of ten seconds."""
    document = json.loads(run("lab", "up", "examples/pair.yaml", "--json"))
    try:
        time.sleep(5)
        gateways = {
            node["name"]: os.stat(node["namespace"]).st_ino for node in document["nodes"] if node["kind"] == "gateway"
        }
        rows = []
        for _ in range(10):
            before = {name: _cpu(inode) for name, inode in gateways.items()}
            begun = time.monotonic()
            time.sleep(10)
            took = time.monotonic() - begun
            for name, inode in gateways.items():
                rows.append(
                    {
                        "node": name,
                        "cpu_percent": (_cpu(inode) - before[name]) / TICKS / took * 100,
                        "pss_mb": sum(_pss(pid) for pid in _inside(inode)) / 1024,
                        "processes": len(_inside(inode)),
                    }
                )
    finally:
        run("lab", "down")
    return {"command": "understudy lab up examples/pair.yaml   # idle, 100 ms", "rows": rows}


def _inside(inode: int) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == inode:
                found.append(int(pid))
        except OSError:
            continue
    return found


def _cpu(inode: int) -> int:
    ticks = 0
    for pid in _inside(inode):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks


def _pss(pid: int) -> int:
    try:
        match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0
