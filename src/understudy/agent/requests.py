"""What a client of the reload socket asks: a line of JSON, and the bytes of a file where the command takes one.

    {"command": "reload", "name": ..., "size": N, "dry_run": false, "trial_s": 0, "drain_s": null}\n and N bytes

`inspect` and `restart` come with a file too; `confirm`, `extend` and `back` are about the one on trial (agent.trial);
`nat` brings a question about the translations instead of a file (agent.nat_orders). Bounded in bytes and in time.
"""

import json
import socket
import time
from dataclasses import dataclass

from understudy.agent.draining import DRAIN_S_MAX
from understudy.agent.running import Running
from understudy.agent.trial import TRIAL_S_MAX
from understudy.config import carried
from understudy.config.load import SIZE_MAX
from understudy.errors import OperatorError

NO_FILE = "E5232"
NONSENSE = "E5233"
CLIENT_TIMEOUT_S = 5.0
"""For the client's whole request, and for taking its answer."""
HEADER_MAX = 4096
REMARK_MAX = 400
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
    drain_s: float | None = None
    """How long flows of removed translations may go on; None: until they end."""
    flows: bool = True
    """Of an inspection: which live flows are at stake."""
    remark: str = ""
    """What the journal shall say beside the change."""


def read_request(connection: socket.socket) -> Request:
    """Raises OperatorError."""
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
        flows, drain_s, remark = (
            bool(header.get("flows", True)),
            header.get("drain_s"),
            str(header.get("remark", ""))[:REMARK_MAX],
        )
        if command not in COMMANDS or not 0 <= size <= SIZE_MAX + 1:
            raise ValueError("unknown command or size")
        bound = None if drain_s is None else _drain(float(drain_s))
        content = bytearray(body)
        while len(content) < size:
            content += _piece(connection, deadline)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise OperatorError(NONSENSE, f"the request could not be read: {error}", "use understudy reload") from None
    return Request(name, bytes(content[:size]), dry_run, command, _trial(trial_s), onto, bound, flows, remark)


def own_file(running: Running) -> Request:
    """The node's own. Raises OperatorError."""
    path = running.options.file
    if path is None:
        raise OperatorError(NO_FILE, "this agent was not started from a file", "name one: understudy reload FILE")
    return Request(str(path), carried(path))


def _trial(seconds: float) -> float:
    """Raises OperatorError; NaN is none either."""
    if not 0 <= seconds <= TRIAL_S_MAX:
        raise OperatorError(NONSENSE, f"a trial of {seconds} s", f"at most {TRIAL_S_MAX:g} s")
    return seconds


def _drain(seconds: float) -> float:
    """Likewise."""
    if not 0 <= seconds <= DRAIN_S_MAX:
        raise OperatorError(NONSENSE, f"a drain of {seconds} s", f"at most {DRAIN_S_MAX:g} s")
    return seconds


def _piece(connection: socket.socket, deadline: float) -> bytes:
    if time.monotonic() > deadline:
        raise TimeoutError("too slow")
    piece = connection.recv(1 << 16)
    if not piece:
        raise OSError("it ended in the middle")
    return piece
