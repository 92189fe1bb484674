"""The process that loads a file for a running node: reads, checks, compares, renders, and answers whoever asked.

It is forked for one request (agent.requests), so that neither the core nor the supervisor ever reads a client or parses
YAML. What it hands to the supervisor is ready to be applied; what is wrong with a file is found here, before anything
changes. The answer is one line of JSON: `ok`, `changed`, `digest_old`, `digest_new`, `took_ms`; or `error` and
`problems` (agent.refusals).
"""

import contextlib
import json
import os
import pickle
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from understudy.agent import client
from understudy.agent.again import Again
from understudy.agent.draining import Draining, joined, save
from understudy.agent.inspection import inspected
from understudy.agent.journal import JournalSender
from understudy.agent.nat_orders import answered
from understudy.agent.options import AgentOptions, find_interfaces, find_node
from understudy.agent.preparing import note, prepare, with_keys
from understudy.agent.refusals import RefusedError, headline, refusal
from understudy.agent.reload import compare, compare_keys
from understudy.agent.requests import CLIENT_TIMEOUT_S, WORDS, Request, own_file, read_request
from understudy.agent.running import Running, make_running
from understudy.agent.store import Store
from understudy.agent.trial import (
    EARLIER_TRIES,
    NO_TRIAL,
    NO_WAY_BACK,
    NOBODY_TAKES_OVER,
    ON_TRIAL,
    Order,
    Restart,
    Take,
    Trial,
    Word,
)
from understudy.config.build import build_plan
from understudy.config.load import read_source
from understudy.config.plan import Plan
from understudy.config.validate import validate
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render.diff import text_difference
from understudy.units import MILLISECOND, Instant

NOT_TAKEN = "E5234"
OUTCOME_TIMEOUT_S = 30.0
CORE_TIMEOUT_S = 5.0
HAND_OVER_PATIENCE_S = 5.0
"""For one that is under way: longer than most."""
_LENGTH = struct.Struct("!Q")
Reply = dict[str, Any]


class Why(Enum):
    """What the process was forked for."""

    ASKED = "a client's request, or without one the node's own file"
    BACK = "the file before the one on trial"
    DRAINED = "the same file, without what flows of former ones needed"


def serve(
    connection: socket.socket | None,
    supervisor: socket.socket,
    running: Running,
    lines: JournalSender,
    trial: Trial,
    why: Why = Why.ASKED,
    over: Sequence[bool] = (),
) -> None:
    """Every outcome is answered. `over`: by former file, whether nobody needs it any more (agent.drainer)."""
    begun = time.monotonic_ns()
    try:
        if why is Why.BACK:
            reply = _go_back(supervisor, running, trial)
        elif why is Why.DRAINED:
            reply = _drained(supervisor, running, over)
        else:
            request = read_request(connection) if connection is not None else own_file(running)
            begun = time.monotonic_ns()
            reply = _carry_out(request, supervisor, running, trial)
            if request.remark and request.command != "nat" and not request.dry_run:
                lines.write(Instant(begun), {"kind": "remark", "subject": request.command, "detail": request.remark})
    except OperatorError as error:
        reply = refusal(running, error)
    except EnvironmentFailure as error:
        reply = refusal(running, OperatorError("E9000", str(error)))
    reply = {**reply, "took_ms": (time.monotonic_ns() - begun) / MILLISECOND}
    supervisor.close()  # Before the answer, in the journal too: who has it may ask again at once.
    if "error" in reply:
        lines.write(
            Instant(time.monotonic_ns()),
            {"kind": "reload-refused", "subject": reply["error"]["code"], "detail": headline(reply)},
        )
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
        return answered(request.data, running.options.plan, running.options.run_dir)
    plan = _parse(request)
    old = running.options
    anchor = trial.before or old
    if request.command == "inspect":
        return inspected(running, plan, trial, flows=request.flows)
    if trial.on and not (request.trial_s or request.dry_run):
        hint = "understudy apply goes on with it; it ends by itself"
        raise OperatorError(ON_TRIAL, f"{old.node} runs a file on trial, which comes first", hint)
    if request.command == "restart":
        return _restart(request, plan, supervisor, running, trial)
    changes = compare(old.plan, plan, old.node)
    refused = [change for change in changes if not change.verdict.live]
    if refused:
        raise RefusedError(refused)
    if request.trial_s and not trial.restarts:
        ways_back = [change for change in compare(plan, anchor.plan, old.node) if not change.verdict.live]
        if ways_back:
            raise OperatorError(NO_WAY_BACK, f"a running node could not go back: {ways_back[0]}", "restart its agent")
    status = _at_rest(old.control_path)
    draining = joined(old.draining, old.plan, plan, old.node, request.drain_s)
    fresh = prepare(plan, running, status, draining)
    changes = (*changes, *compare_keys(old.keys, fresh.options.keys))
    reply: Reply = {
        "ok": True,
        "node": old.node,
        "dry_run": request.dry_run,
        "changed": [change.words for change in changes],
        "digest_old": running.digest,
        "digest_new": fresh.digest,
        "note": note(old.file, request.data),
    }
    if request.dry_run:
        return {**reply, "kernel": text_difference(running.config.ruleset, fresh.config.ruleset)}
    if changes or plan != old.plan:
        with _remembered(old, draining):
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
    draining = joined(old.draining, old.plan, plan, old.node, request.drain_s)
    fresh = replace(with_keys(old), draining=draining)
    make_running(replace(fresh, plan=plan), find_interfaces(find_node(plan, old.node)))
    Store(old.store_path).rehearse()  # The next life begins with writing it, and would not begin on a full disk.
    status = _of_peer(old.control_path)
    _require_successor(status)
    before = (trial.before or old) if request.trial_s else None
    deadline = time.monotonic() + request.trial_s
    again = Again(replace(fresh, plan=plan), request.name, request.data, before, deadline)
    changes = (*compare(old.plan, plan, old.node), *compare_keys(old.keys, fresh.keys))
    reply: Reply = {
        "ok": True,
        "node": old.node,
        "changed": [change.words for change in changes],
        "digest_old": running.digest,
        "digest_new": plan.digest.hex(),
        "epoch": status["epoch"],
        "note": note(old.file, request.data),
    }
    with _remembered(old, draining):
        _hand_in(supervisor, Restart(again), old.node)
    return reply  # At once: the agent's end does not wait for long.


def _go_back(supervisor: socket.socket, running: Running, trial: Trial) -> Reply:
    """To what the node ran before the file on trial."""
    old, before = running.options, trial.before
    assert before is not None
    status = _of_peer(old.control_path) if trial.restarts else _at_rest(old.control_path)
    draining = joined(old.draining, old.plan, before.plan, old.node, None)
    if trial.restarts:
        known = {group.name for group in before.plan.groups}
        served = [group for group in status["groups"] if group["role"] == "active" and group["name"] in known]
        if served and trial.tries < EARLIER_TRIES:
            raise OperatorError(NOBODY_TAKES_OVER, f"{old.node} serves: the other node goes back first")
        _require_successor({**status, "groups": served})
        Store(old.store_path).rehearse()
        with _remembered(old, draining):
            _hand_in(supervisor, Restart(Again(before)), old.node)
    else:
        words = [change.words for change in compare(old.plan, before.plan, old.node)]
        take = Take(prepare(before.plan, running, status, draining), words)
        with _remembered(old, draining):
            _hand_in(supervisor, take, old.node)
    return {"ok": True, "node": old.node, "changed": []}


def _drained(supervisor: socket.socket, running: Running, over: Sequence[bool]) -> Reply:
    """The file that runs, without what nobody needs any more."""
    old = running.options
    left = tuple(each for each, gone in zip(old.draining, over, strict=True) if not gone)
    fresh = prepare(old.plan, running, _at_rest(old.control_path), left)
    with _remembered(old, left):
        _hand_in(supervisor, Take(fresh, ["drained"]), old.node)
    return {"ok": True, "node": old.node, "changed": []}


@contextlib.contextmanager
def _remembered(old: AgentOptions, draining: Draining) -> Iterator[None]:
    """Stored before the file is taken, and as it was if that is not taken."""
    try:
        save(old.draining_path, draining)
    except OSError as error:
        raise EnvironmentFailure("write", str(old.draining_path), os.strerror(error.errno or 0)) from error
    try:
        yield
    except OperatorError:
        with contextlib.suppress(OSError):
            save(old.draining_path, old.draining)
        raise


def _of_peer(control: Path) -> Reply:
    """The node's status once it has heard its peer, or could have."""
    return client.ask(control, "status", client.PATIENT_S, heard=True)


def _at_rest(control: Path) -> Reply:
    """The node's status once no hand-over is under way: the core that would end with the change is half of it. One that
    lasts is not waited for.
    """
    deadline = time.monotonic() + HAND_OVER_PATIENCE_S
    while True:
        status = client.ask(control, "status")
        if not any(group["phase"] for group in status["groups"]) or time.monotonic() > deadline:
            return status
        time.sleep(0.02)


def _require_successor(status: Reply) -> None:
    """An agent that restarts hands over first. Raises OperatorError if a group would be left to nobody."""
    for group in status["groups"]:
        ready = any(peer["heard"] and peer["eligible"] for peer in group["peers"])
        if group["role"] == "active" and not ready:
            message = f"{status['node']} is Active for {group['name']}, and nobody could take over from it"
            raise OperatorError(NOBODY_TAKES_OVER, message, "understudy status shows what each node sees")


def _parse(request: Request) -> Plan:
    return build_plan(validate(read_source(request.data, request.name)))


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


def _line(end: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = end.recv(4096)
        if not piece:
            raise OSError("it ended")
        data += piece
    return data
