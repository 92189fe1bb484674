"""The process that loads a file for a running node: reads, checks, compares, renders, and answers whoever asked.

It is forked for one request, so that neither the core nor the supervisor ever reads a client or parses YAML. What it
hands to the supervisor is ready to be applied; what is wrong with a file is found here, before anything changes.

    client      {"command": "reload", "name": ..., "size": N, "dry_run": false, "trial_s": 0}\\n and N bytes of the file
    answer      one line of JSON: `ok`, `changed`, `digest_old`, `digest_new`, `took_ms`; or `error` and `problems`

`inspect` and `restart` come with a file too; `confirm`, `extend` and `back` are about the one on trial (agent.trial);
`nat` brings a question about the translations instead of a file (agent.nat_orders).
"""

import json
import pickle
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from understudy.agent import app, client
from understudy.agent.again import Again
from understudy.agent.inspection import inspected
from understudy.agent.journal import JournalSender
from understudy.agent.nat_orders import answered
from understudy.agent.options import AgentOptions, find_interfaces, find_node
from understudy.agent.reload import REFUSED, Change, compare, compare_keys, surviving
from understudy.agent.running import Running, make_running
from understudy.agent.store import Store
from understudy.agent.trial import (
    EARLIER_TRIES,
    NO_TRIAL,
    NO_WAY_BACK,
    NOBODY_TAKES_OVER,
    ON_TRIAL,
    TRIAL_S_MAX,
    Order,
    Restart,
    Take,
    Trial,
    Word,
)
from understudy.config import carried
from understudy.config.build import build_plan
from understudy.config.key import load_keys
from understudy.config.load import SIZE_MAX, read_source
from understudy.config.plan import Plan
from understudy.config.problems import Problems
from understudy.config.validate import validate
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render.diff import text_difference
from understudy.units import MILLISECOND, Instant

NO_FILE = "E5232"
NONSENSE = "E5233"
NOT_TAKEN = "E5234"
CLIENT_TIMEOUT_S = 5.0
"""For the client's whole request, and for taking its answer."""
OUTCOME_TIMEOUT_S = 30.0
CORE_TIMEOUT_S = 5.0
HEADER_MAX = 4096
_LENGTH = struct.Struct("!Q")
Reply = dict[str, Any]


COMMANDS = ("reload", "inspect", "restart", "nat")
WORDS = ("confirm", "extend", "back")


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    """Of the file, for messages."""
    data: bytes
    dry_run: bool = False
    command: str = "reload"
    trial_s: float = 0.0
    onto: str = ""
    """The digest of the file that the client believes to run. It was asked about, and is not to be another by now."""


def serve(
    connection: socket.socket | None,
    supervisor: socket.socket,
    running: Running,
    lines: JournalSender,
    trial: Trial,
    *,
    back: bool = False,
) -> None:
    """One request, from a client or (without one) for the node's own file, or for that before the one on trial.

    Every outcome is answered.
    """
    begun = time.monotonic_ns()
    try:
        if back:
            reply = _go_back(supervisor, running, trial)
        else:
            request = _read_request(connection) if connection is not None else _own_file(running)
            begun = time.monotonic_ns()
            reply = _carry_out(request, supervisor, running, trial)
    except OperatorError as error:
        reply = refusal(running, error)
    except EnvironmentFailure as error:
        reply = refusal(running, OperatorError("E9000", str(error)))
    reply = {**reply, "took_ms": (time.monotonic_ns() - begun) / MILLISECOND}
    if "error" in reply:
        lines.write(
            Instant(time.monotonic_ns()),
            {"kind": "reload-refused", "subject": reply["error"]["code"], "detail": _headline(reply)},
        )
    supervisor.close()  # Before the answer: who has it may ask again at once.
    if connection is not None:
        connection.settimeout(CLIENT_TIMEOUT_S)
        try:
            connection.sendall(json.dumps(reply, separators=(",", ":"), default=str).encode() + b"\n")
        except OSError:
            return  # It went away: what was done is in the journal.


def _carry_out(request: Request, supervisor: socket.socket, running: Running, trial: Trial) -> Reply:
    if request.onto and request.onto != running.digest:
        message = f"{running.options.node} does not run the file that this was meant for: somebody else changed it"
        raise OperatorError(NO_TRIAL if request.command in WORDS else ON_TRIAL, message, "look at it, and begin anew")
    if request.command in WORDS:
        return _word(request, supervisor, running, trial)
    if request.command == "nat":
        return answered(request.data, running.options.plan)
    plan = _parse(request)
    old = running.options
    anchor = trial.before or old
    if request.command == "inspect":
        return inspected(running, plan, trial)
    if trial.on and not (request.trial_s or request.dry_run):
        hint = "understudy apply goes on with it; it ends by itself"
        raise OperatorError(ON_TRIAL, f"{old.node} runs a file on trial, which comes first", hint)
    if request.command == "restart":
        return _restart(request, plan, supervisor, running, trial)
    changes = compare(old.plan, plan, old.node)
    refused = [change for change in changes if not change.verdict.live]
    if refused:
        raise _Refused(refused)
    if request.trial_s and not trial.restarts:
        ways_back = [change for change in compare(plan, anchor.plan, old.node) if not change.verdict.live]
        if ways_back:
            raise OperatorError(NO_WAY_BACK, f"a running node could not go back: {ways_back[0]}", "restart its agent")
    status = client.ask(old.control_path, "status")
    fresh = _prepare(plan, running, status)
    changes = (*changes, *compare_keys(old.keys, fresh.options.keys))
    reply: Reply = {
        "ok": True,
        "node": old.node,
        "dry_run": request.dry_run,
        "changed": [change.words for change in changes],
        "digest_old": running.digest,
        "digest_new": fresh.digest,
        "note": _note(old.file, request.data),
    }
    if request.dry_run:
        return {**reply, "kernel": text_difference(running.config.ruleset, fresh.config.ruleset)}
    if changes or plan != old.plan:
        _hand_in(supervisor, Take(fresh, [change.words for change in changes], request.trial_s), old.node)
        _wait_for_core(old.control_path, int(status["epoch"]))
    return reply


def _word(request: Request, supervisor: socket.socket, running: Running, trial: Trial) -> Reply:
    """About the file that is on trial."""
    node = running.options.node
    if not trial.on:
        raise OperatorError(NO_TRIAL, f"{node} runs no file on trial", "it went back already, or took it for good")
    _hand_in(supervisor, Word(request.command, request.trial_s), node)
    return {"ok": True, "node": node, "changed": []}


def _restart(request: Request, plan: Plan, supervisor: socket.socket, running: Running, trial: Trial) -> Reply:
    """With this file: what can be known beforehand is tried. The answer comes before the end of the agent."""
    old = running.options
    fresh = _with_keys(old)
    make_running(replace(fresh, plan=plan), find_interfaces(find_node(plan, old.node)))
    Store(old.store_path).rehearse()  # The next life begins with writing it, and would not begin on a full disk.
    status = client.ask(old.control_path, "status")
    _require_successor(status)
    before = (trial.before or old) if request.trial_s else None
    deadline = time.monotonic() + request.trial_s
    again = Again(replace(fresh, plan=plan), request.name, request.data, before, deadline)
    _hand_in(supervisor, Restart(again), old.node)
    changes = (*compare(old.plan, plan, old.node), *compare_keys(old.keys, fresh.keys))
    changed = [change.words for change in changes]
    return {
        "ok": True,
        "node": old.node,
        "changed": changed,
        "digest_old": running.digest,
        "digest_new": plan.digest.hex(),
        "epoch": status["epoch"],
        "note": _note(old.file, request.data),
    }


def _go_back(supervisor: socket.socket, running: Running, trial: Trial) -> Reply:
    """To what the node ran before the file on trial."""
    old, before = running.options, trial.before
    assert before is not None
    status = client.ask(old.control_path, "status")
    if trial.restarts:
        known = {group.name for group in before.plan.groups}
        served = [group for group in status["groups"] if group["role"] == "active" and group["name"] in known]
        if served and trial.tries < EARLIER_TRIES:
            raise OperatorError(NOBODY_TAKES_OVER, f"{old.node} serves: the other node goes back first")
        _require_successor({**status, "groups": served})
        Store(old.store_path).rehearse()
        _hand_in(supervisor, Restart(Again(before)), old.node)
    else:
        words = [change.words for change in compare(old.plan, before.plan, old.node)]
        _hand_in(supervisor, Take(_prepare(before.plan, running, status), words), old.node)
    return {"ok": True, "node": old.node, "changed": []}


def _require_successor(status: Reply) -> None:
    """An agent that restarts hands over first. Raises OperatorError if a group would be left to nobody."""
    for group in status["groups"]:
        ready = any(peer["heard"] and peer["eligible"] for peer in group["peers"])
        if group["role"] == "active" and not ready:
            message = f"{status['node']} is Active for {group['name']}, and nobody could take over from it"
            raise OperatorError(NOBODY_TAKES_OVER, message, "understudy status shows what each node sees")


def _note(own: Path | None, data: bytes) -> str:
    """What the operator should know besides: the next start of the node may undo the change."""
    if own is None:
        return ""
    try:
        same = carried(own) == data
    except OperatorError:
        same = False
    return "" if same else f"the next start of this node reads {own}, which says something else: copy the file there"


def _parse(request: Request) -> Plan:
    return build_plan(validate(read_source(request.data, request.name)))


def _prepare(plan: Plan, running: Running, status: Reply) -> Running:
    """Everything that the new file becomes on this node, tried as far as that goes without touching the kernel."""
    options = _with_keys(running.options)
    interfaces = find_interfaces(find_node(plan, options.node))
    if any(interfaces.get(network) != port for network, port in running.interfaces.items()):
        raise OperatorError(REFUSED, "the node's ports are not those that its agent began with", "restart the agent")
    up = surviving(options.plan, plan, _up(options.plan, status))
    fresh = make_running(replace(options, plan=plan), interfaces, up, options.plan)
    app.warm_up(fresh.options, fresh.settings)  # A core that could not begin must not get so far.
    return fresh


def _with_keys(options: AgentOptions) -> AgentOptions:
    """With what the key file holds now. Raises OperatorError."""
    if options.key_file is None:
        return options
    first, *others = load_keys(options.key_file)
    return replace(options, key=first, more_keys=tuple(others))


def _up(plan: Plan, status: Reply) -> frozenset[int]:
    """The servers that the core's checks leave in service."""
    down = {(server["service"], server["name"]) for server in status["servers"] if not server["up"]}
    return frozenset(
        server.binding
        for service in plan.services
        for server in service.servers
        if (service.name, server.name) not in down
    )


def _wait_for_core(control: Path, epoch: int) -> None:
    """Until one that began after `epoch` answers: who hears of the reload can ask it. Raises OperatorError."""
    deadline = time.monotonic() + CORE_TIMEOUT_S
    while True:
        try:
            if client.ask(control, "status")["epoch"] > epoch:
                return
        except OperatorError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.002)


def _hand_in(supervisor: socket.socket, order: Order, node: str) -> None:
    """Give the result to the supervisor and wait for what becomes of it. Raises OperatorError if it was not taken."""
    supervisor.settimeout(OUTCOME_TIMEOUT_S)
    try:
        supervisor.sendall(packed(order))
        error = json.loads(_line(supervisor))["error"]
    except (OSError, ValueError) as failure:
        error = f"no word of the supervisor: {failure}"
    if error:
        raise OperatorError(NOT_TAKEN, f"{node} goes on with its old file: {error}", "try it again")


def packed(order: Order) -> bytes:
    data = pickle.dumps(order)
    return _LENGTH.pack(len(data)) + data


def receive_order(data: bytearray) -> Order | None:
    """What was `packed`, once it is whole."""
    if len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
        return None
    order: Order = pickle.loads(memoryview(data)[_LENGTH.size :])  # noqa: S301 (our own fork's, with our rights)
    return order


# --- the request


def _read_request(connection: socket.socket) -> Request:
    """Bounded in bytes and in time. Raises OperatorError."""
    connection.settimeout(CLIENT_TIMEOUT_S)
    deadline = time.monotonic() + CLIENT_TIMEOUT_S
    data = b""
    try:
        while b"\n" not in data and len(data) < HEADER_MAX:
            data += _piece(connection, deadline)
        head, _, body = data.partition(b"\n")
        header = json.loads(head)
        command, dry_run, trial_s = header["command"], bool(header.get("dry_run")), float(header.get("trial_s", 0))
        onto = str(header.get("onto", ""))
        if command in WORDS:
            return Request("", b"", command=command, trial_s=_trial(trial_s), onto=onto)
        size, name = int(header["size"]), str(header["name"])
        if command not in COMMANDS or not 0 <= size <= SIZE_MAX + 1:
            raise ValueError("unknown command or size")
        content = bytearray(body)
        while len(content) < size:
            content += _piece(connection, deadline)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OperatorError(NONSENSE, f"the request could not be read: {error}", "use understudy reload") from None
    return Request(name, bytes(content[:size]), dry_run, command, _trial(trial_s), onto)


def _trial(seconds: float) -> float:
    """Raises OperatorError; NaN is none either."""
    if not 0 <= seconds <= TRIAL_S_MAX:
        raise OperatorError(NONSENSE, f"a trial of {seconds} s", f"at most {TRIAL_S_MAX:g} s")
    return seconds


def _piece(connection: socket.socket, deadline: float) -> bytes:
    if time.monotonic() > deadline:
        raise TimeoutError("too slow")
    piece = connection.recv(1 << 16)
    if not piece:
        raise OSError("it ended in the middle")
    return piece


def _own_file(running: Running) -> Request:
    path = running.options.file
    if path is None:
        raise OperatorError(NO_FILE, "this agent was not started from a file", "name one: understudy reload FILE")
    return Request(str(path), carried(path))


def _line(end: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = end.recv(4096)
        if not piece:
            raise OSError("it ended")
        data += piece
    return data


# --- the answer


class _Refused(OperatorError):
    """Changes that a running node cannot take."""

    def __init__(self, changes: Sequence[Change]) -> None:
        what = "1 change needs" if len(changes) == 1 else f"{len(changes)} changes need"
        hint = "restart the standby's agent with the new file, understudy switchover, then the other agent"
        super().__init__(REFUSED, f"{what} a restart", hint)
        self.changes = changes

    def __str__(self) -> str:
        head, _, hint = super().__str__().partition("\n")
        return "\n".join((head, *(f"  {change}" for change in self.changes), hint))


def refusal(running: Running, error: OperatorError) -> Reply:
    """Nothing has changed, because of `error`."""
    reply: Reply = {
        "ok": False,
        "node": running.options.node,
        "error": {"code": error.code, "message": error.message, "hint": error.hint, "text": str(error)},
    }
    if isinstance(error, Problems):
        reply["problems"] = [
            {name: value for name, value in asdict(problem).items() if name != "width"} for problem in error.problems
        ]
    if isinstance(error, _Refused):
        reply["refused"] = [{"change": each.words, "because": each.verdict.because} for each in error.changes]
    return reply


def _headline(reply: Reply) -> str:
    problems = reply.get("problems", ())
    first = "".join(f"; line {each['line']}: {each['code']} {each['message']}" for each in problems[:3])
    first += "".join(f"; {each['change']}: {each['because']}" for each in reply.get("refused", ())[:3])
    return f"{reply['error']['message']}{first}"
