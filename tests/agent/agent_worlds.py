"""Stories about real agents in a lab. A module's stories share one lab, in a sandbox beside pytest.

A story is a function that gets a `World`; `@in_lab` makes a test of it. Each begins with two healthy agents and exactly
one Active: what the story before it broke is mended first.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from agent_asking import answering_mac, question_frame

from understudy.agent import client
from understudy.config import load_plan
from understudy.config.key import create_key
from understudy.config.plan import Plan
from understudy.errors import OperatorError
from understudy.lab import processes, sandbox
from understudy.lab.build import AgentMain, Lab, run_agent
from understudy.units import Address

T = TypeVar("T")
Story = Callable[["World"], None]
Test = Callable[["LabOfModule"], None]
Told = tuple[str, str]
"""A story, and its failure: empty if there was none."""

ROOT = Path(__file__).parents[2]
NODES = ("gw1", "gw2")
STORIES: dict[str, Story] = {}
PATIENCE_S = 10.0
COMPLETE_S = 15.0
"""Until both kernels are proven equal: rounds begin within a second, and repeat with ever longer pauses."""
OFFERS_MAX = 3
"""Of a hand-over: one that is not taken within half a second is given up, and an operator would ask again."""
STORY_S = 150
"""Less than pytest's own limit: then it is said which story it was, and the next one is not taken for it."""
ETH_P_ALL = 3


def in_lab(story: Story) -> Test:
    """The test that has the module's lab carry `story` out."""
    name = f"{story.__module__}.{story.__name__}"
    STORIES[name] = story

    def test(lab: "LabOfModule") -> None:
        lab.carry_out(name)

    test.__name__ = test.__qualname__ = story.__name__
    test.__doc__, test.__module__ = story.__doc__, story.__module__
    return test


class LabOfModule:
    """pytest's end: names a story, and raises what became of it."""

    def __init__(self, commands: int, told: "sandbox.Sandbox[Told]") -> None:
        self._commands = commands
        self._told = told

    def carry_out(self, name: str) -> None:
        os.write(self._commands, name.encode() + b"\n")
        deadline = time.monotonic() + STORY_S
        told, failure = "", ""
        while told != name:  # a story that was given up may still be told, and is not this one
            try:
                told, failure = self._told.receive(max(0.01, deadline - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"{name} did not end within {STORY_S} s") from None
        if failure:
            raise AssertionError(failure)


@contextlib.contextmanager
def lab_of(text: str, agent_main: AgentMain = run_agent) -> Iterator[LabOfModule]:
    theirs, ours = os.pipe2(os.O_CLOEXEC)

    def main(report: Callable[[Told], None]) -> None:
        os.close(ours)
        with tempfile.TemporaryDirectory() as state, open(theirs, closefd=False) as commands:
            file = Path(state) / "cluster.yaml"
            file.write_text(text)
            lab = Lab(load_plan(file), Path(state), agent_main=agent_main)
            lab.up()
            world = World(lab, file)
            for line in commands:
                name, failure = line.strip(), ""
                try:
                    world.mend()
                    STORIES[name](world)
                except BaseException:
                    failure = traceback.format_exc() + world.history()
                report((name, failure))
            lab.down()

    with sandbox.start(main) as told:
        os.close(theirs)
        try:
            yield LabOfModule(ours, told)
        finally:
            os.close(ours)


class World:
    """The lab, and questions about it."""

    def __init__(self, lab: Lab, file: Path) -> None:
        self.lab = lab
        self.file = file
        self._plan, self._key = lab.plan, lab.key
        self._dead_servers: list[str] = []
        self._misconfigured: list[str] = []

    # --- what is

    def status(self, node: str) -> dict[str, Any]:
        return client.ask(self.lab.run_dir(node) / client.SOCKET, "status")

    def group(self, node: str) -> dict[str, Any]:
        group: dict[str, Any] = self.status(node)["groups"][0]
        return group

    def role(self, node: str) -> str:
        """`gone` if no agent answers."""
        try:
            return str(self.group(node)["role"])
        except OperatorError:
            return "gone"

    def roles(self) -> dict[str, str]:
        return {node: self.role(node) for node in NODES}

    def active(self) -> str:
        """The one Active. Fails if there is none or another."""
        found = [node for node, role in self.roles().items() if role == "active"]
        assert len(found) == 1, found
        return found[0]

    def standby(self) -> str:
        return other(self.active())

    def moves(self) -> dict[str, int]:
        """How often each node's group has moved, for comparing."""
        return {node: len([e for e in self.events(node) if e["kind"] == "moved"]) for node in NODES}

    def events(self, node: str, kind: str = "", since: int = 0) -> list[dict[str, Any]]:
        path = self.lab.run_dir(node) / "events.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []  # the last one may be half written
        found = [json.loads(line) for line in lines]
        return [event for event in found if kind in ("", event["kind"]) and event["t"] >= since]

    def history(self) -> str:
        """For a story that failed."""
        lines = []
        for node in NODES:
            log = self.lab.run_dir(node) / "agent.log"
            lines += [f"--- {node}", *(str(event) for event in self.events(node)[-25:])]
            lines += [log.read_text()[-2000:] if log.exists() else ""]
        return "\n".join(lines)

    def pid(self, node: str, role: str) -> int:
        """Of a node's process: `core`, `hands` or `checks`, by the name it gave itself; the supervisor's otherwise."""
        pids = self.lab.agent_pids(node)
        if role == "supervisor":
            return pids[0]
        for pid in pids:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == f"understudy-{role}"[:15]:
                    return pid
        return 0

    def is_complete(self, node: str) -> bool:
        """Whether a node holds every flow of its peer, and was found to."""
        flows = self.group(node)["flows"] or {}
        return bool(flows.get("running") and flows.get("complete"))

    def dropped(self, node: str, reason: str) -> int:
        return int(self.status(node)["dropped"].get(reason, 0))

    # --- asking and doing

    def ask(self, node: str, command: str, **fields: Any) -> dict[str, Any]:
        return client.ask(self.lab.run_dir(node) / client.SOCKET, command, **fields)

    def run(self, host: str, text: str) -> str:
        """A program's output, on a host."""
        namespace = self.lab.namespaces[host]
        done: subprocess.CompletedProcess[str] = namespace.run(
            subprocess.run, text.split(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}: {done.stderr}"
        return done.stdout

    def run_nft(self, host: str, text: str) -> None:
        """nft commands, whose words do not come apart at blanks."""

        def nft() -> subprocess.CompletedProcess[str]:
            return subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, check=False)

        done = self.lab.namespaces[host].run(nft)
        assert done.returncode == 0, done.stderr

    def understudy(self, node: str, *words: str, before: str = "", prefix: str = "") -> tuple[int, str, str]:
        """The command in a node's namespace: exit code, standard output, standard error.

        `before` is Python that runs in the process first, `prefix` a command in front.
        """
        program = f"{before}\nfrom understudy.cli import main\nmain()"
        command = [*prefix.split(), sys.executable, "-c", program, *words]
        done: subprocess.CompletedProcess[str] = self.lab.namespaces[node].run(
            subprocess.run, command, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    def agent(self, node: str, run_dir: Path, *, name: str = "", before: str = "", prefix: str = "") -> tuple[int, str]:
        """`understudy agent` on a node, as a service manager starts it: exit code and standard error.

        `name` is what it takes itself for.
        """
        key = self.lab.state / "cluster.key"
        if not key.exists():
            create_key(key)
        words = ["agent", str(self.file), "--node", name or node, "--key", str(key), "--run-dir", str(run_dir)]
        code, _, text = self.understudy(node, *words, before=before, prefix=prefix)
        return code, text

    def get(
        self, address: str, host: str = "client-outside", port: int = 80, path: str = "/", patience_s: float = 2.0
    ) -> str:
        """The body of an HTTP answer, empty if there is none in time."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.lab.namespaces[host].socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience_s)
            try:
                connection.connect((address, port))
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
                return connection.recv(65536).decode().partition("\r\n\r\n")[2].strip()
            except OSError:
                return ""

    def answers(self, address: str, during_s: float = 0.1, host: str = "client-outside") -> set[bytes]:
        """MAC addresses that answer ARP or neighbour discovery for `address`, asked every 5 ms."""
        namespace = self.lab.namespaces[host]
        with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as asker:
            asker.bind(("eth0", ETH_P_ALL))
            asker.setblocking(False)
            question = question_frame(address, bytes(asker.getsockname()[4]), self._own(host, address))
            found: set[bytes] = set()
            end = time.monotonic() + during_s
            while time.monotonic() < end:
                asker.send(question)
                pause = time.monotonic() + 0.005
                # At least one look: who could not run for a while finds the answers waiting.
                while select.select([asker], [], [], max(0.0, pause - time.monotonic()))[0]:
                    mac = answering_mac(asker.recv(2048), address)
                    if mac:
                        found.add(mac)
                    if time.monotonic() > end + during_s:
                        break
        return found

    def _own(self, host: str, address: str) -> Address:
        version = 6 if ":" in address else 4
        port = self.lab.topology.host(host).ports[0]
        return next(interface.ip for interface in port.addresses if interface.version == version)

    def signal(self, node: str, role: str, number: int) -> int:
        """To a node's process, and its pid. One that is just being begun is waited for: pid 0 would be the lab."""
        pid = self.until(lambda: self.pid(node, role))
        os.kill(pid, number)
        return pid

    def settle(self) -> str:
        """The Active, once its standby holds every flow: whoever it is by then."""

        def settled() -> str:
            found = [node for node, role in self.roles().items() if role == "active"]
            return found[0] if len(found) == 1 and self.is_complete(other(found[0])) else ""

        return self.until(settled, COMPLETE_S)

    def switch_over(self) -> None:
        """Once it is allowed: not while another one ends, nor before the standby holds the state."""
        old = self.active()
        name = self.group(old)["name"]
        for _ in range(OFFERS_MAX):
            self.until(
                lambda: self.role(old) == "backup" or self.ask(old, "switchover", group=name).get("ok"), COMPLETE_S
            )
            if self.until(lambda: self._handed_over(old)) == "moved":
                return
        raise AssertionError(f"nobody took any of {OFFERS_MAX} offers")

    def _handed_over(self, old: str) -> str:
        """`moved`, or `given up`: an offer ends by itself if the successor could not run meanwhile."""
        group, roles = self.group(old), self.roles()
        if (roles[old], roles[other(old)]) == ("backup", "active"):
            return "moved"
        return "given up" if roles[old] == "active" and not group["phase"] else ""

    def restart_agent(self, node: str) -> None:
        before = self.lab.agent_pids(node)[:1]
        self.lab.kill_agent(node)
        for leader in before:
            self.until(lambda leader=leader: _ended(leader))  # type: ignore[misc]
        self.lab.start_agent(node)
        self.until(lambda: self.role(node) in ("active", "backup"))

    def kill_server(self, host: str) -> None:
        self.lab.kill_server(host)
        self._dead_servers.append(host)

    def start_servers(self) -> None:
        """Those that were killed."""
        while self._dead_servers:
            self.lab.start_server(self._dead_servers.pop())

    def until(self, condition: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
        """The first true value; fails if there is none in time. A node that does not answer is asked again."""
        deadline = time.monotonic() + timeout_s
        while True:
            unanswered = None
            try:
                value = condition()
                if value:
                    return value
            except OperatorError as error:
                unanswered = error
            assert time.monotonic() < deadline, unanswered or "it did not come about in time"
            time.sleep(0.01)

    def remains(self, condition: Callable[[], bool], during_s: float) -> None:
        """Fails as soon as it does not hold."""
        end = time.monotonic() + during_s
        while time.monotonic() < end:
            assert condition()
            time.sleep(0.01)

    def misconfigure(self, node: str, *, plan: Plan | None = None, key: bytes | None = None) -> None:
        """Restart a node's agent with another file or key, until the story ends."""
        self._misconfigured.append(node)
        self.lab.plan, self.lab.key = plan or self._plan, key or self._key
        self.restart_agent(node)
        self.lab.plan, self.lab.key = self._plan, self._key

    def mend(self) -> None:
        """Two agents of the plan, servers up, one Active that hears its standby."""
        self.start_servers()
        while self._misconfigured:
            self.restart_agent(self._misconfigured.pop())
        for node in NODES:
            if self.role(node) not in ("active", "backup"):
                self.restart_agent(node)
            if self.until(lambda node=node: self.status(node))["maintenance"]:  # type: ignore[misc]
                self.ask(node, "maintenance", on=False)
        self.until(lambda: sorted(self.roles().values()) == ["active", "backup"])
        self.until(lambda: all(self.group(node)["peers"][0]["heard"] for node in NODES))
        self.until(lambda: all(server["up"] for node in NODES for server in self.status(node)["servers"]))


def _ended(leader: int) -> bool:
    """Nobody of the session is left. One that was being forked as the others were killed still holds their ports."""
    left = processes.of_session(leader)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return not left


def other(node: str) -> str:
    return NODES[1 - NODES.index(node)]
