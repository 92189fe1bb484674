"""What users lose meanwhile: a process that measures beside a change, and asks the services when it is told to.

In a lab it enters the client's place: the drill's probes run through the pair, 1 kHz of datagrams each way and a small
population of TCP connections, and each step is told what it cost. Anywhere else it can only do what a client of the
services could from here: a new connection to each of them ten times a second. What did not answer before the change is
not asked during it.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from understudy.config.plan import Plan
from understudy.units import Address

SERVICES_MAX: Final = 16
"""Of many services these are asked; the first ones of the file."""
ANSWER_S: Final = 1.0
PERIOD_S: Final = 0.1
CONNECTIONS: Final = 40
READY_S: Final = 20.0
PR_SET_PDEATHSIG: Final = 1
Window = tuple[int, int]
Target = tuple[Address, int]


@dataclass(frozen=True, slots=True)
class Loss:
    """What one step cost; None where it could not be measured."""

    packets: int | None
    connections: int | None


UNKNOWN: Final = Loss(None, None)


def targets(plan: Plan) -> tuple[Target, ...]:
    """What is asked: every address and port of the services."""
    found = ((listen.address, listen.port) for service in plan.services for listen in service.listen)
    return tuple(dict.fromkeys(found))[:SERVICES_MAX]


def name_of(target: Target) -> str:
    return f"{target[0]} port {target[1]}"


class Watch:
    """The measuring process, from this side. It ends with the block, and with us."""

    def __init__(self, plan: Plan, lab: Path | None, *, measure: bool = True) -> None:
        """`lab` is the directory of a lab that is up, if the nodes are in one."""
        self._pipe, theirs = multiprocessing.Pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _become(parent, theirs, plan, lab, measure=measure)
        theirs.close()
        self.findings: list[str] = []
        """Why less is measured than could be."""
        if (told := self._hear(READY_S)) is not None:
            self.findings += told
        else:
            self.findings.append("the probes did not start: nothing is measured")

    def answers(self) -> Mapping[str, bool]:
        """By service address: whether it answers now."""
        found: Mapping[str, bool] = self._ask("answers", 2 * ANSWER_S + 5) or {}
        return found

    def losses(self, windows: Sequence[Window]) -> list[Loss]:
        """The end of the measurement: what was lost in each span of the monotonic clock, in nanoseconds."""
        found = self._ask(("losses", tuple(windows)), 60)
        return found if found is not None else [UNKNOWN for _ in windows]

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGTERM)
            os.waitpid(self._pid, 0)

    def _ask(self, question: object, patience_s: float) -> Any:
        try:
            self._pipe.send(question)
        except OSError:
            return None
        return self._hear(patience_s)

    def _hear(self, patience_s: float) -> Any:
        try:
            return self._pipe.recv() if self._pipe.poll(patience_s) else None
        except (EOFError, OSError):
            return None


def _become(parent: int, pipe: Connection, plan: Plan, lab: Path | None, *, measure: bool) -> None:
    """The life of the child; never returns."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
        if os.getppid() != parent:
            os._exit(1)
        if lab is None:
            _serve(pipe, plan, lambda function: function(), [], _connects)
        else:
            _in_lab(pipe, plan, lab, measure=measure)
    except Exception:
        # The one broad handler of this process: without it the change goes on, with less known.
        with contextlib.suppress(OSError):
            pipe.send([f"the probes failed: {traceback.format_exc(limit=3)}"])
    finally:
        os._exit(0)


Inside = Callable[[Callable[[], Any]], Any]
"""Calls a function where the clients are."""
Measuring = Callable[
    [Inside, Sequence[Target]], "contextlib.AbstractContextManager[Callable[[Sequence[Window]], list[Loss]]]"
]


def _serve(pipe: Connection, plan: Plan, inside: Inside, findings: list[str], measuring: Measuring) -> None:
    """Answer questions until the other end closes."""
    asked = [target for target, well in _answering(inside, targets(plan)).items() if well]
    with measuring(inside, asked) as losses:
        pipe.send(findings)
        while True:
            try:
                question = pipe.recv()
            except EOFError:
                return
            if question == "answers":
                pipe.send({name_of(target): well for target, well in _answering(inside, asked).items()})
            else:
                pipe.send(losses(question[1]))
                return


# --- new connections


def _answering(inside: Inside, asked: Sequence[Target]) -> dict[Target, bool]:
    """Whether each takes a connection, all asked at once."""
    waiting = dict(zip(inside(lambda: [_connect(target) for target in asked]), asked, strict=True))
    found = dict.fromkeys(asked, False)
    deadline = time.monotonic() + ANSWER_S
    while waiting and (left := deadline - time.monotonic()) > 0:
        for ready in select.select([], list(waiting), [], left)[1]:
            found[waiting.pop(ready)] = not ready.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            ready.close()
    for late in waiting:
        late.close()
    return found


def _connect(target: Target) -> socket.socket:
    address, port = target
    made = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    made.setblocking(False)
    made.connect_ex((str(address), port))
    return made


@contextlib.contextmanager
def _connects(inside: Inside, asked: Sequence[Target]) -> Iterator[Callable[[Sequence[Window]], list[Loss]]]:
    """A thread that connects to every service, again and again; nothing to ask, nothing to know."""
    import threading

    failed: list[int] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(PERIOD_S):
            at = time.monotonic_ns()
            failed.extend(at for well in _answering(inside, asked).values() if not well)

    def losses(windows: Sequence[Window]) -> list[Loss]:
        ended.set()
        if asked:
            worker.join(2 * ANSWER_S + 1)
        return [Loss(None, sum(start <= at < end for at in failed) if asked else None) for start, end in windows]

    worker = threading.Thread(target=work, daemon=True)
    if asked:
        worker.start()
    try:
        yield losses
    finally:
        ended.set()


# --- in a lab


def _in_lab(pipe: Connection, plan: Plan, directory: Path, *, measure: bool) -> None:
    from understudy.rollout.attached import attach, client_of, measured

    lab = attach(json.loads((directory / "lab.json").read_text()), plan, directory)
    client = client_of(lab)
    findings: list[str] = []

    def inside(function: Callable[[], Any]) -> Any:
        return lab.namespaces[client].run(function)

    measuring = measured(lab, findings) if measure else None
    _serve(pipe, plan, inside, findings, measuring or _connects)
