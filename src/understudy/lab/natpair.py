"""Cases of NAT on a pair of real agents, with the Active's death between the packets: the answers must stay the same.

The pair of `natpairfile` runs in a lab of its own, with the hosts of `natpairhosts` around it. Once the standby's table
of translations is the Active's, the Active loses its power; the next packet meets the other node. It gets its power
back before the next one dies. A case of one packet has it sent twice.

What begins a TCP connection here is answered and acknowledged at once: half-open connections are not carried over
(docs/flows.md), whoever opens one tries again.
"""

import contextlib
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from understudy.agent import client
from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.ios.layout import words_of
from understudy.ios.model import Configuration
from understudy.ios.reader import read_text
from understudy.ios.rows import unpacked
from understudy.lab import sandbox
from understudy.lab.build import Lab
from understudy.lab.natcases import Case, Seen, Step, judge
from understudy.lab.natpairfile import GROUP, NODES, PairFile, pair_file
from understudy.lab.natpairhosts import Hosts
from understudy.lab.natrun import CaseResult, StepResult
from understudy.lab.natwire import NUMBERS, resolved
from understudy.units import MILLISECOND, SECOND, Duration

WAIT: Duration = SECOND
WAIT_NOTHING: Duration = 100 * MILLISECOND
PATIENCE: Duration = 15 * SECOND
"""For two nodes to be of one mind."""
_PAUSE_S = 0.01
_TOLD_S = 0.2
"""What a node tells the other from time to time, such as the turn of a rotary, is told by then."""
_FAILURES = (EnvironmentFailure, OperatorError, Problems, OSError, ValueError, LookupError, TimeoutError, struct.error)


def run_on_a_pair(case: Case) -> CaseResult:
    """A case on a pair of its own. Raises OperatorError where namespaces are forbidden."""
    return sandbox.run(partial(_run, case))


def _run(case: Case) -> CaseResult:
    steps: list[StepResult] = []
    table: tuple[str, ...] = ()
    case = _lasting(case)
    try:
        with tempfile.TemporaryDirectory(prefix="cases-") as state, _Pair(case, Path(state)) as pair:
            seen: list[Seen | None] = []
            for number, step in enumerate(case.steps):
                if number:
                    pair.fail_over()
                if step.lines:
                    pair.enter(step.lines)
                    seen.append(None)
                    steps.append(StepResult({}, {}, ()))
                    continue
                found = pair.send(step, seen)
                seen.append(found)
                told: dict[str, object] = {"verdict": found.verdict, **found.fields}
                steps.append(StepResult(dict(step.expected), told, judge(step, found, seen)))
            table = pair.table()
    except _FAILURES as error:
        return CaseResult(case.id, case.title, False, case.differs, tuple(steps), (), str(error)[:1000])
    missing = tuple(row for row in case.table_after if row not in table)
    passed = not any(step.wrong for step in steps) and (case.differs or not missing)
    return CaseResult(case.id, case.title, passed, case.differs, tuple(steps), (), table=table, missing=missing)


def _lasting(case: Case) -> Case:
    """A flow that only begins would never meet the other node."""
    if len(case.steps) != 1:
        return case
    (only,) = case.steps
    return replace(case, steps=(only, replace(only, same_flow_as=0)))


class _Pair:
    """Two agents that run a case's lines, and the hosts around them."""

    def __init__(self, case: Case, state: Path) -> None:
        self._case, self._state = case, state
        self._lines = case.config.splitlines()
        self._file: PairFile
        self._configuration: Configuration
        self._lab: Lab
        self._hosts: Hosts | None = None
        self._established: dict[int, bool] = {}
        """Steps whose TCP connection was answered and acknowledged."""

    def __enter__(self) -> "_Pair":
        self._configuration = _read(self._lines)
        self._file = pair_file(self._case, self._configuration)
        self._lab = Lab(load_plan(self._write()), self._state)
        try:
            self._lab.up()
            self._hosts = Hosts(self._lab, self._file, self._case, self._configuration)
            for node in NODES:
                self.hosts.furnish(node)
            self._settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._hosts is not None:
            self._hosts.close()
        self._lab.down()

    @property
    def hosts(self) -> Hosts:
        """Those around the pair; there once it is up."""
        assert self._hosts is not None
        return self._hosts

    def _write(self) -> Path:
        path = self._state / "pair.yaml"
        path.write_bytes(self._text())
        return path

    def _text(self) -> bytes:
        return self._file.text(self._lines, self._case)

    # --- what the agents say

    def _group(self, node: str) -> dict[str, Any]:
        status = client.ask(self._lab.run_dir(node) / client.SOCKET, "status")
        return next((each for each in status["groups"] if each["name"] == GROUP), {})

    def _role(self, node: str) -> str:
        with contextlib.suppress(OperatorError):
            return str(self._group(node).get("role"))
        return "gone"

    def _active(self) -> str:
        found = [node for node in NODES if self._role(node) == "active"]
        if len(found) != 1:
            raise TimeoutError(f"there are {len(found)} Active nodes")
        return found[0]

    def _rows(self, node: str) -> tuple[str, ...]:
        question = b'{"do": "translations"}'
        reply = client.order(self._lab.run_dir(node), "nat", "question", question)
        return tuple(" ".join(words_of(unpacked(row))) for row in reply.get("rows", ()))

    def table(self) -> tuple[str, ...]:
        """The Active's table of translations."""
        return self._rows(self._active())

    def _settle(self) -> None:
        """Until one node is Active and the other could take its place with everything that there is."""

        def unsettled() -> str:
            roles = {self._role(node): node for node in NODES}
            if set(roles) != {"active", "backup"}:
                return f"roles are {', '.join(roles)}"
            held = self._group(roles["backup"]).get("flows")
            if held is not None and not held.get("complete"):
                return f"the standby's flows: {held}"
            here, there = (sorted(self._rows(roles[role])) for role in ("active", "backup"))
            return "" if here == there else f"the Active's table {here}, the standby's {there}"

        self._until(unsettled)

    def _until(self, hindrance: Callable[[], str]) -> None:
        """Until nothing hinders."""
        deadline = time.monotonic_ns() + PATIENCE
        while True:
            try:
                found = hindrance()
            except OperatorError as error:
                found = str(error)
            if not found:
                return
            if time.monotonic_ns() > deadline:
                raise TimeoutError(f"not settled within {PATIENCE // SECOND} s: {found[:400]}")
            time.sleep(_PAUSE_S)

    # --- what is done to it

    def fail_over(self) -> None:
        """The Active loses its power; the node that lost it before has long been back."""
        for node in NODES:
            if not self._lab.agent_pids(node):
                self._lab.power_on(node)
                self.hosts.furnish(node)
        self._settle()
        time.sleep(_TOLD_S)
        dying = self._active()
        (left,) = set(NODES) - {dying}
        self._lab.power_off(dying)

        def absent() -> str:
            role = self._role(left)
            if role != "active":
                return f"{left} is {role}"
            return "" if all(map(self.hosts.answers, self._file.places)) else f"{left} does not answer"

        self._until(absent)

    def enter(self, lines: Sequence[str]) -> None:
        """More lines, on all nodes that run."""
        self._lines += lines
        self._configuration = _read(self._lines)
        text = self._text()
        for node in NODES:
            if self._lab.agent_pids(node):
                reply = client.reload(self._lab.run_dir(node), "pair.yaml", text)
                if "error" in reply:
                    raise OperatorError("E7116", f"{node} did not take the lines: {reply['error']}", "see its journal")
        self._lab.plan = load_plan(self._write())

    # --- packets

    def send(self, step: Step, before: Sequence[Seen | None]) -> Seen:
        """Send a step's packet, see what becomes of it, and finish the handshake of a connection that it begins."""
        number = len(before)
        if step.protocol not in NUMBERS:
            return Seen("dropped")  # a payload that would have to be rewritten
        fields = resolved(step, before)
        flow = step.reply_to if step.reply_to is not None else step.same_flow_as
        goes_on = flow is not None and self._established.get(flow, False)
        stage = "begin" if flow is None or not goes_on else "forth" if step.reply_to is None else "back"
        if stage == "begin" and step.reply_to is not None:
            stage = "answer"
        found = self._one(fields, step, stage)
        self._established[number] = goes_on
        if stage == "begin" and step.protocol == "tcp" and found.interface:
            self._established[number] = self._shake_hands(step, fields, found)
        return found

    def _shake_hands(self, step: Step, sent: Mapping[str, Any], seen: Seen) -> bool:
        """The answer from where the packet arrived, and its acknowledgement."""
        back = {"src": seen.fields["dst"], "dst": seen.fields["src"],
                "sport": seen.fields["dport"], "dport": seen.fields["sport"]}  # fmt: skip
        answer = self.hosts.carry(back, "tcp", "answer", seen.interface, WAIT)
        if answer.verdict == "dropped":
            return False
        self.hosts.carry(sent, "tcp", "forth", self._from(sent, step), WAIT)
        return True

    def _one(self, fields: Mapping[str, Any], step: Step, stage: str) -> Seen:
        wait = WAIT_NOTHING if step.expected["verdict"] == "dropped" else WAIT
        return self.hosts.carry(fields, step.protocol, stage, self._from(fields, step), wait)

    def _from(self, fields: Mapping[str, Any], step: Step) -> str:
        """The network by which a packet comes; the Active where it is its own."""
        if step.direction == "local>out":
            return self._active()
        return self.hosts.arrival(IPv4Address(str(fields["src"])), step)


def _read(lines: Sequence[str]) -> Configuration:
    reading = read_text("\n".join(lines))
    for line in reading.refused:
        reason = line.refusal.reason if line.refusal is not None else ""
        raise OperatorError("E7113", f"line {line.number} is refused: {reason}", line.text.strip()[:120])
    return reading.configuration
