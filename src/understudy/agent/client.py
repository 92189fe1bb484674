"""Ask agents over their control sockets. Imports nothing heavy: `status` is a whole process of at most 200 ms."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from understudy.errors import OperatorError

RUN_DIR = Path("/run/understudy")
REPLY_MAX = 1 << 22
TIMEOUT_S = 2.0
PATIENT_S = 8.0
"""The same, for what waits until the node has heard its peer, or could have (agent.patience)."""
PATIENT = ("switchover", "maintenance")
REPEATED = ("status", "flows", "maintenance")
"""Mean the same twice: a node that began to answer and ended is asked again, since another process of it goes on."""
AGAIN_S = 0.005
SOCKET = "control.sock"
RELOAD_SOCKET = "reload.sock"
RELOAD_TIMEOUT_S = 40.0


def ask(path: Path, command: str, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
    """One command, one answer. Raises OperatorError if nobody answers there."""
    question = json.dumps({"command": command, **fields}).encode() + b"\n"
    if timeout_s is None:
        timeout_s = PATIENT_S if command in PATIENT else TIMEOUT_S
    begun, spent_s = time.monotonic(), 0.0
    while True:
        try:
            return _exchange(path, question, timeout_s, spent_s)
        except TornError:
            spent_s = time.monotonic() - begun
            if command not in REPEATED or spent_s > timeout_s:
                raise
            time.sleep(AGAIN_S)


def reload(run_dir: Path, name: str, text: bytes, *, dry_run: bool = False) -> dict[str, Any]:
    """Give the agent of `run_dir` the text of a file to run from now on; `name` is for its messages.

    The answer has `error` if the file was not taken; then nothing has changed. Raises OperatorError as `ask` does.
    """
    return order(run_dir, "reload", name, text, dry_run=dry_run)


def order(run_dir: Path, command: str, name: str = "", text: bytes = b"", **fields: Any) -> dict[str, Any]:
    """Any request to the reload socket of an agent: see `agent.requests`. The answer is as that of `reload`."""
    header = {"command": command, "name": name, "size": len(text), **fields}
    return _exchange(run_dir / RELOAD_SOCKET, json.dumps(header).encode() + b"\n" + text, RELOAD_TIMEOUT_S)


class TornError(OperatorError):
    """Whoever took the question ended before the answer."""


def _exchange(path: Path, question: bytes, timeout_s: float, spent_s: float = 0.0) -> dict[str, Any]:
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as end:
            _connect(end, path, max(AGAIN_S, timeout_s - spent_s))
            # Who refuses at once may not read the whole question: the answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                end.sendall(question)
            while not data.endswith(b"\n") and len(data) < REPLY_MAX:
                piece = end.recv(1 << 16)
                if not piece:
                    break
                data += piece
        if not data.endswith(b"\n") and len(data) < REPLY_MAX:
            raise ConnectionResetError
        reply = json.loads(data)
    except FileNotFoundError:
        raise OperatorError("E5301", f"no agent listens at {path}", "start it, or name its --run-dir") from None
    except ConnectionRefusedError:
        raise OperatorError("E5301", f"the agent at {path} is gone", "start it again") from None
    except ConnectionResetError:
        raise TornError(
            "E5303", f"the agent at {path} ended before it answered", "ask again; its journal says why it ended"
        ) from None
    except PermissionError:
        raise OperatorError("E5302", f"not allowed to ask {path}", "ask as the user that runs the agent") from None
    except TimeoutError:
        raise OperatorError(
            "E5303", f"the agent at {path} did not answer within {timeout_s:g} s", "is it frozen? look at its journal"
        ) from None
    except (OSError, ValueError) as error:
        raise OperatorError("E5303", f"the agent at {path} did not answer: {error}", "look at its journal") from None
    if not isinstance(reply, dict):
        raise OperatorError("E5303", f"the agent at {path} answered nonsense", "is it of the same version?")
    return reply


def _connect(end: socket.socket, path: Path, timeout_s: float) -> None:
    """A full backlog refuses at once instead of waiting (unix(7), EAGAIN): try again, for as long as we may."""
    end.settimeout(timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            end.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.005)
        else:
            return


def control_paths(run_dir: Path | None) -> list[Path]:
    """Control sockets that there are: below `run_dir`, or of this machine's agent and of the labs of this user."""
    if run_dir is not None:
        direct = run_dir / SOCKET
        return [direct] if direct.exists() else sorted(run_dir.glob(f"*/{SOCKET}")) or [direct]
    found = sorted(RUN_DIR.glob(f"*/{SOCKET}"))
    uid = os.getuid()
    roots = (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}")
    for root in dict.fromkeys(Path(r, "understudy") for r in roots if r):
        found += sorted(root.glob(f"lab/*/*/{SOCKET}"))
    fallback = Path(f"/tmp/understudy-{uid}")  # noqa: S108 -- where labs are kept without a runtime directory
    return found + sorted(fallback.glob(f"lab/*/*/{SOCKET}"))


def find(
    run_dir: Path | None, node: str | None = None, cluster: str | None = None, *, of_one_cluster: bool = False
) -> list[tuple[Path, dict[str, Any]]]:
    """Status of every agent that answers; of `node` or `cluster` only, if named.

    Raises OperatorError if there is none, or agents of several clusters where one is meant.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    problem: OperatorError | None = None
    others: set[str] = set()
    for path in control_paths(run_dir):
        if node is not None and path.parent.name != node:
            others.add(path.parent.name)
            continue
        try:
            status = ask(path, "status")
            if cluster is None or status.get("cluster") == cluster:
                found.append((path, status))
            else:
                others.add(str(status.get("cluster")))
        except OperatorError as error:
            problem = problem or error
            found.append((path, {"node": path.parent.name, "error": error.message, "groups": []}))
    if not any("error" not in status for _, status in found):
        if problem is not None:
            raise problem
        if others:
            wanted = node or cluster
            raise OperatorError("E5308", f"nothing of {wanted} answers here", f"there is {', '.join(sorted(others))}")
        where = str(run_dir) if run_dir is not None else f"{RUN_DIR} or in a lab"
        raise OperatorError(
            "E5301",
            f"no agent answers below {where}",
            "start one: understudy lab up FILE, or understudy agent FILE --node NAME on each node",
        )
    clusters = sorted({status["cluster"] for _, status in found if "cluster" in status})
    if of_one_cluster and len(clusters) > 1:
        message = f"agents of several clusters answer here: {', '.join(clusters)}"
        raise OperatorError("E5307", message, "name one with --cluster")
    return found


def silent(statuses: list[tuple[Path, dict[str, Any]]]) -> str:
    """Of what `find` gave, who does not answer, and why; empty if all do."""
    return "; ".join(f"{status['node']}: {status['error']}" for _, status in statuses if "error" in status)


def only(statuses: list[tuple[Path, dict[str, Any]]]) -> tuple[Path, dict[str, Any]]:
    """The one that answers, of what `find` gave. Raises OperatorError if several do."""
    found = [(path, status) for path, status in statuses if "error" not in status]
    if len(found) > 1:
        names = ", ".join(status["node"] for _, status in found)
        raise OperatorError("E5306", f"which node? {names} answer here", "name one with --node")
    return found[0]


def group_of(statuses: list[tuple[Path, dict[str, Any]]], group: str | None) -> str:
    """The name of `group`, or of the only one that there is. Raises OperatorError."""
    names = sorted({g["name"] for _, status in statuses for g in status["groups"]})
    if group is None:
        if len(names) != 1:
            raise OperatorError("E5304", f"which group? There are {', '.join(names)}", "name one")
        group = names[0]
    if group not in names:
        raise OperatorError("E5304", f"there is no group {group}", f"there are {', '.join(names)}")
    return group


def active_of(statuses: list[tuple[Path, dict[str, Any]]], group: str | None) -> tuple[Path, str]:
    """Control socket of the node that is Active for `group` (or the only group), and the group's name."""
    group = group_of(statuses, group)
    for path, status in statuses:
        for each in status["groups"]:
            if each["name"] == group and each["role"] == "active":
                return path, group
    raise OperatorError("E5305", f"no node that answers here is Active for {group}", "ask on the Active node")
