"""One question to an agent over its control socket: a JSON line there, a JSON line back."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import EnvironmentFailure

_REPLY_MAX = 4 << 20


def ask(run_dir: Path, command: Mapping[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
    """Send a command and return the reply (Any: a JSON object). Raises EnvironmentFailure if nobody answers."""
    path = run_dir / "control.sock"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
            sock.sendall(json.dumps(command).encode() + b"\n")
            with sock.makefile("rb") as stream:
                reply = json.loads(stream.readline(_REPLY_MAX) or b"null")
    except (OSError, ValueError) as error:
        raise EnvironmentFailure("ask", str(path), str(error)) from error
    if not isinstance(reply, dict):
        raise EnvironmentFailure("ask", str(path), "the agent hung up")
    return reply


def role(run_dir: Path, group: str) -> str:
    """The node's role in a group, in lower case; empty while its agent does not answer."""
    return str(_standing(run_dir, group).get("role", "")).lower()


def has_flows(run_dir: Path, group: str) -> bool:
    """Whether the node says that its replica of the group's flows is complete."""
    flows = _standing(run_dir, group).get("flows")
    return isinstance(flows, dict) and bool(flows.get("complete"))


def _standing(run_dir: Path, group: str) -> dict[str, Any]:
    """What the agent says of the group (Any: JSON); nothing while it does not answer."""
    try:
        reply = ask(run_dir, {"command": "status"}, timeout_s=1.0)
    except EnvironmentFailure:
        return {}
    for entry in reply.get("groups", ()):
        if entry.get("name") == group:
            return dict(entry)
    return {}
