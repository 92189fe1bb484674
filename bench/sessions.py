"""FTP downloads, SSH sessions and WebSockets of real programs, through a pair that fails over again and again.

One story: all sessions begin; the pair loses its power, its agent, its cable, is handed over and taken back, and after
each move every session that still lives must have gone on before the next one; then they end in order and are judged.
What each of them felt of a move is its longest gap between that move and the next. Rows: one a session.

    .venv/bin/python bench/flows.py --only sessions

Cases: `replicate`, the file as it is; `none` with `state: none`, where only what can be computed anew survives: no
download, of which all comes from outside and meets a kernel that knows of no such flow; `no-helpers` without FTP's
helper, where an active transfer cannot begin; `unreplicated`, keepalived alone, whose strict kernels lose all of them.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import daemons
import sessionclients
from conntrackd import STATEFUL
from contenders import Contender
from sessionclients import LARGE_FILE, SMALL_FILE, SMALL_TEXT, Client, Pulse, Told
from summary import Row

from understudy.config import load_plan
from understudy.config.plan import Plan
from understudy.drill import control, keeping, stage
from understudy.drill.board import Board, Cell
from understudy.drill.processes import ProbeProcess
from understudy.errors import EnvironmentFailure
from understudy.lab import sandbox, syscalls
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration

FILE = Path(__file__).with_name("sessions.yaml")
FAR, NEAR = "client-outside", "client-inside"
SERVERS = ("web1", "web2")
FTP_RATE = 400_000
"""Bytes a second: the download lasts over all moves."""
ROLE_S, GO_ON_S, STATE_S, BEGIN_S = 30.0, 12.0, 20.0, 20.0
QUIET: Duration = 3 * SECOND
"""Before each strike, with everything at rest."""
SILENCE_S = 200.0
_NEVER = 1 << 62


# -- who talks to whom --


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    path: str
    """`translated` from inside to the host outside, or `balanced` from there to one of the servers."""
    client: Client


SESSIONS = (
    Session("ftp-passive", "translated", partial(sessionclients.ftp, active=False)),
    Session("ftp-active", "translated", partial(sessionclients.ftp, active=True)),
    Session("ftp-announced", "translated", sessionclients.announced),
    Session("ssh", "translated", sessionclients.ssh),
    Session("ssh", "balanced", sessionclients.ssh),
    Session("websocket", "translated", sessionclients.websocket),
    Session("websocket", "balanced", sessionclients.websocket),
)


# -- what happens to the pair --


@dataclass(frozen=True, slots=True)
class Move:
    """Something that makes the other node active."""

    name: str
    strike: Callable[["Story"], object]
    """While `Story.active` and `Story.standby` are as before the move."""
    heal: Callable[["Story"], object] = lambda _: None
    """Once the sessions have gone on; the roles have changed by then."""
    needs_standby: bool = True
    """The other node must stand by with the state before the strike. Not where the move is that it comes."""


MOVES = (
    Move("power-loss", lambda s: s.lab.power_off(s.active)),
    Move("node-returns", lambda s: s.lab.power_on(s.standby), needs_standby=False),
    Move("agent-kill", lambda s: s.lab.kill_agent(s.active)),
    Move("agent-returns", lambda s: s.lab.start_agent(s.standby), needs_standby=False),
    Move("switchover", lambda s: s.hand_over()),
    Move("link-down", lambda s: s.lab.link_down(s.active, "outside"), lambda s: s.lab.link_up(s.standby, "outside")),
)
"""Who returns takes over: the file says `preempt`. After a hand-over by command nobody takes back."""


@dataclass(frozen=True, slots=True)
class Case:
    contender: Contender
    moves: Sequence[Move]
    state: str = ""
    """In place of the file's, if not empty."""
    helpers: bool = True

    def plan(self, advertise: Duration | None) -> Plan:
        plan = load_plan(FILE, advertise)
        if not self.helpers:
            plan = replace(plan, source_nat=tuple(replace(rule, helpers=()) for rule in plan.source_nat))
        return keeping.with_state(plan, self.state) if self.state else plan


CASES = {
    "replicate": Case(STATEFUL["understudy"], MOVES),
    "none": Case(STATEFUL["understudy"], MOVES, state="none"),
    "no-helpers": Case(STATEFUL["understudy"], (), helpers=False),
    "unreplicated": Case(STATEFUL["unreplicated"], MOVES[:1], state="none"),
}


@dataclass(frozen=True, slots=True)
class Pace:
    lasts_s: int
    """How long a download takes at its rate. It must outlast the moves, or its row is void."""
    quiet: Duration = QUIET
    advertise: Duration | None = None


# -- the story --


class Story:
    """One lab, its programs, and the moves; everything ends with the lab."""

    def __init__(self, case: Case, directory: Path, pace: Pace) -> None:
        self.case, self.large, self.quiet = case, pace.lasts_s * FTP_RATE, pace.quiet
        self.plan = case.plan(pace.advertise)
        self.group = self.plan.groups[0]
        self.lab = Lab(self.plan, directory / "lab", agent_main=case.contender.main)
        self.active, self.standby = self.group.nodes[0], self.group.nodes[1]
        """By the file, and from then on by what has happened."""
        self.files = directory / "files"
        self.struck: list[tuple[str, int]] = []
        """Moves and their instants."""

    def tell(self) -> list[Row]:
        """Raises EnvironmentFailure where the pair does not do what the story needs."""
        self._begin()
        board = Board()
        with contextlib.ExitStack() as held:
            clients = [
                held.enter_context(ProbeProcess(each.name, partial(self._client, each, Pulse(board, number))))
                for number, each in enumerate(SESSIONS)
            ]
            _until(lambda: all(map(board.last_arrival, range(len(SESSIONS)))), BEGIN_S)
            for move in self.case.moves:
                self._carry_out(move, board)
            board[Cell.STOP] = time.monotonic_ns()
            told = [client.result(SILENCE_S) for client in clients]
        return [self._row(session, each) for session, each in zip(SESSIONS, told, strict=True)]

    def _begin(self) -> None:
        daemons.furnish(self.files, ftp_rate=FTP_RATE)
        write_files(self.files, self.large)
        self.lab.up(agents=False)
        for host in SERVERS:
            self.lab.kill_server(host)  # the lab's own listens where ours are to
            daemons.start(self.lab, host, self.files, ("sshd", "websocket"))
        daemons.start(self.lab, FAR, self.files, ("sshd", "websocket", "vsftpd"))
        for host in self.lab.topology.gateways():
            self.lab.start_agent(host.name)
        self._wait_until(self.active, self.standby)

    def _client(self, session: Session, pulse: Pulse) -> Told:
        host, address = (NEAR, self._outside()) if session.path == "translated" else (FAR, self._virtual())
        syscalls.setns(self.lab.namespaces[host].fd, syscalls.CLONE_NEWNET)
        try:
            return session.client(self.files, address, pulse)
        finally:
            pulse.end()

    def _outside(self) -> str:
        return str(stage.address_on(self.lab.topology.host(FAR), self.plan.source_nat[0].to, 4))

    def _virtual(self) -> str:
        return str(self.plan.services[0].listen[0].address)

    def _carry_out(self, move: Move, board: Board) -> None:
        if move.needs_standby:
            self._wait_until(self.active, self.standby)
        time.sleep(self.quiet / SECOND)
        self.struck.append((move.name, time.monotonic_ns()))
        move.strike(self)
        self.active, self.standby = self.standby, self.active
        self._wait_until(self.active)
        moved = time.monotonic_ns()
        # A session that does not go on is judged at its end; the story need not stop for it.
        _until(lambda: all(board.last_arrival(each) > moved for each in range(len(SESSIONS))), GO_ON_S)
        move.heal(self)

    def hand_over(self) -> None:
        assert self.case.contender.switch_over is not None
        self.case.contender.switch_over(self.lab, self.group, self.active)

    def _wait_until(self, active: str, standby: str = "") -> None:
        """Until the one serves and, if named, the other stands by with the state."""
        role, wanted = self.case.contender.role, {active: "active", **({standby: "standby"} if standby else {})}
        if not _until(lambda: all(role(self.lab, self.group, node) == is_ for node, is_ in wanted.items()), ROLE_S):
            roles = {str(node): role(self.lab, self.group, node) for node in self.group.nodes}
            told = f"not so after {ROLE_S:g} s but {roles}; moves so far {[name for name, _ in self.struck]}"
            raise EnvironmentFailure("wait for", f"{wanted}", f"{told}; {self._said(active)}")
        if (
            standby
            and keeping.keeps_flows(self.plan)
            and not _until(lambda: control.has_flows(self.lab.run_dir(standby), self.group.name), STATE_S)
        ):
            raise EnvironmentFailure("wait for", standby, f"it has not all flows after {STATE_S:g} s")

    def _said(self, node: str) -> str:
        log = self.lab.run_dir(node) / "agent.log"
        return f"its log ends with: {log.read_text(errors='replace').strip()[-300:] if log.exists() else '(nothing)'}"

    def _row(self, session: Session, told: Told) -> Row:
        ends = [*(at for _, at in self.struck[1:]), _NEVER]
        felt = {
            f"{name.replace('-', '_')}_ms": felt_ms(told.gaps, since, until)
            for (name, since), until in zip(self.struck, ends, strict=False)
        }
        ended_early = bool(self.struck) and told.ended == "whole" and told.last <= self.struck[-1][1]
        return {
            "session": session.name,
            "path": session.path,
            "moves": len(self.struck),
            "ended": told.ended,
            "why": told.why,
            "whole": told.ended == "whole",
            "resets": int(told.ended == "reset"),
            "stalls": int(told.ended == "stalled"),
            "wrong": int(told.ended == "wrong"),
            "units": told.units,
            "longest_ms": max((each for each in felt.values() if each is not None), default=None),
            **felt,
            **({"void": "the session ended before the last move: a larger file is needed"} if ended_early else {}),
        }


def felt_ms(gaps: Sequence[tuple[int, int]], since: int, until: int) -> float | None:
    """The longest time without progress between two instants, of the gaps that are no pause in speaking."""
    felt = [min(end, until) - max(begin, since) for begin, end in gaps]
    return round(max(felt) / MILLISECOND, 1) if max(felt, default=0) > 0 else None


def write_files(directory: Path, size: int) -> None:
    """What is downloaded, and its checksum where the clients look for it."""
    digest = hashlib.sha256()
    with (directory / "ftp" / LARGE_FILE).open("wb") as file:
        for begin in range(0, size, 1 << 20):
            block = os.urandom(min(1 << 20, size - begin))
            digest.update(block)
            file.write(block)
    (directory / "ftp" / SMALL_FILE).write_text(SMALL_TEXT)
    (directory / "large.sha256").write_text(digest.hexdigest())


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# -- runs --

PACES = {"replicate": Pace(35), "none": Pace(60), "no-helpers": Pace(3), "unreplicated": Pace(8)}
"""Where sessions do not go on, each move is waited for in vain: that story takes longer."""


def tell(name: str, pace: Pace) -> list[Row]:
    """One story, in a sandbox of its own."""

    def story() -> list[Row]:
        with tempfile.TemporaryDirectory(prefix="sessions-") as directory:
            told = Story(CASES[name], Path(directory), pace)
            try:
                return told.tell()
            finally:
                told.lab.down()

    return sandbox.run(story)


def measure(case: str, number: int, quick: bool) -> list[Row]:
    """A part of bench/flows.py. Raises RuntimeError where the story could not be told."""
    try:
        return [{"advertise_ms": 50, **row} for row in tell(case, PACES[case])]
    except EnvironmentFailure as failure:
        raise RuntimeError(str(failure)) from failure
