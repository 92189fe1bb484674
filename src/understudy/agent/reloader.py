"""How a running node takes another file: the supervisor's part, which never waits.

    a client, or SIGHUP
     -> `reload`     loads, checks, compares, renders (agent.loading); a wrong file ends here
     -> `new-hands`  apply the new configuration, while the core goes on and the old hands are stopped (SIGSTOP):
                     two writers of one kernel would undo each other's work
     -> the core is ended; the new hands finish what no core may see (agent.newhands), a new core is forked with them,
        adopts what the kernel holds, and is as quick about it as after any crash; the old hands end

What a file on trial took the place of is kept (agent.trial), and put back in the same way once its time is over.

If the new hands fail, others apply the old configuration again, then the old hands go on where they were stopped; the
core was never touched. If core or hands die meanwhile, both are started anew with the old file. One at a time.
"""

import contextlib
import gc
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from understudy.agent import drainer, loading, messages, sweeper
from understudy.agent.again import Again
from understudy.agent.children import Children
from understudy.agent.door import Door
from understudy.agent.drainer import Drainer
from understudy.agent.journal import JournalSender
from understudy.agent.loading import Why
from understudy.agent.newhands import NewHands
from understudy.agent.refusals import refusal
from understudy.agent.reload_phase import APPLY_TIMEOUT_S, PREPARE_TIMEOUT_S, UNDO_TIMEOUT_S, Phase
from understudy.agent.running import Running
from understudy.agent.sweeper import Sweeper
from understudy.agent.trial import Restart, Take, Trial, Word
from understudy.errors import OperatorError
from understudy.units import Instant

BUSY = "E5231"
WAITING_MAX = 4
RECEIVE_MAX = 1 << 20


class Reloader:
    """`running` says what runs now, `order` gives its hands a command, `adopt` puts another in its place with the hands
    at the other end of the socket; it raises OSError before it has done anything if there is no process for it.
    `restart` ends this life of the agent for another one.
    """

    def __init__(
        self,
        path: Path,
        children: Children,
        lines: JournalSender,
        running: Callable[[], Running],
        order: Callable[[messages.Message], object],
        adopt: Callable[[Running, socket.socket], None],
        restart: Callable[[Again], None] = lambda again: None,
        trial: Trial | None = None,
    ) -> None:
        self._order = order
        self._children = children
        self._lines = lines
        self._running = running
        self._adopt = adopt
        self._restart = restart
        self._trial = trial or Trial()
        self._drainer = Drainer(children, lines, running)
        self._sweeper = Sweeper(children, running)
        self._trial_s = 0.0
        self._back = False
        """The file before the one on trial is being put back."""
        self._drops = False
        """The node takes its own file without what has drained."""
        self._door = Door(path)
        self._door.open(WAITING_MAX)
        self._phase = Phase.IDLE
        self._deadline = 0.0
        self._begun = 0
        self._number = 0
        self._child: socket.socket | None = None
        """Our end to the process that loads."""
        self._result = bytearray()
        self._fresh: tuple[Running, list[str]] | None = None
        self._hands: socket.socket | None = None
        """Our end to the new hands."""
        self._failure = ""

    @property
    def busy(self) -> bool:
        return self._phase is not Phase.IDLE

    @property
    def changing(self) -> bool:
        """The kernel may be neither as the old file says nor as the new one."""
        return self._phase in (Phase.APPLYING, Phase.UNDOING)

    @property
    def _role(self) -> str:
        """Numbered, because the one before may still be answering its client."""
        return f"reload-{self._number}"

    def sockets(self) -> list[socket.socket]:
        """What to wait for. Clients wait at the door while the node does what nobody asked for."""
        door = None if self.busy and self._drops else self._door.listener
        return [end for end in (door, self._child, self._hands) if end is not None]

    def ready(self, descriptor: int) -> None:
        """One of `sockets` has something to say."""
        if descriptor == self._door.listener.fileno():
            self._accept()
        elif self._child is not None and descriptor == self._child.fileno():
            self._hear_child()
        elif self._hands is not None and descriptor == self._hands.fileno():
            self._hear_hands()

    def tick(self) -> None:
        """Time has passed: nothing lasts for ever."""
        if self.busy and time.monotonic() > self._deadline:
            if self._phase is Phase.PREPARING:
                self._finish("the file could not be loaded in time")
            else:
                self._hands_failed("the kernel did not answer in time")
        elif not self.busy and self._trial.due(time.monotonic()):
            self._begin(None, Why.BACK)
        elif not self.busy and not self._trial.on:
            self._sweeper.tick()
            if over := self._drainer.tick():
                self._begin(None, Why.DRAINED, over)

    def read_again(self) -> None:
        """The node's own file."""
        self._begin(None)

    def ended(self, role: str) -> None:
        """A child of ours has ended."""
        if role == "new-hands":
            self._hands_failed("the process for it ended")
        elif role == self._role and self._phase is Phase.PREPARING:
            self._finish("")
        elif role == drainer.ROLE:
            self._drainer.ended()
        elif role == sweeper.ROLE:
            self._sweeper.ended()

    def abort(self, why: str) -> None:
        """Core or hands are no more, or the node is to end: whoever calls puts the kernel right."""
        if self.busy:
            self._let_go_on()
            self._finish(why)

    def close(self) -> None:
        self._stop_looking()
        self._door.close()

    # --- loading

    def _accept(self) -> None:
        try:
            connection, _ = self._door.listener.accept()
        except OSError:
            return
        if self._phase is Phase.PREPARING:
            self._hear_child()  # It may have ended, and its client come back before we heard of it.
        with connection:
            self._begin(connection)

    def _begin(self, connection: socket.socket | None, why: Why = Why.ASKED, over: tuple[bool, ...] = ()) -> None:
        if self.busy:
            self._refuse(connection, OperatorError(BUSY, "another reload is under way", "wait until it is done"))
            return
        self._phase, self._begun = Phase.PREPARING, time.monotonic_ns()
        self._deadline = time.monotonic() + PREPARE_TIMEOUT_S
        self._number += 1
        self._result, self._back, self._drops = bytearray(), why is Why.BACK, why is Why.DRAINED
        running, trial = self._running(), self._trial

        def body() -> None:
            gc.freeze()
            loading.serve(connection, theirs, running, self._lines, trial, why, over)

        try:
            self._child, theirs = socket.socketpair()
            self._child.setblocking(False)
            with theirs:
                self._children.spawn(self._role, body, theirs, *(() if connection is None else (connection,)))
        except OSError as error:
            self._finish("")
            self._refuse(connection, OperatorError(loading.NOT_TAKEN, _no_process(error), "try again later"))

    def _refuse(self, connection: socket.socket | None, error: OperatorError) -> None:
        """Before anything was begun: told to the client, or noted if SIGHUP asked."""
        if connection is None:
            self._note("reload-refused", {"subject": error.code, "detail": error.message})
            return
        with contextlib.suppress(OSError):
            connection.send(json.dumps(refusal(self._running(), error)).encode() + b"\n")

    def _hear_child(self) -> None:
        assert self._child is not None
        try:
            data = self._child.recv(RECEIVE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # Nothing to apply, or the file was refused; in a later phase only nobody is left to be told.
            if self._phase is Phase.PREPARING:
                self._finish("")
            else:
                self._child.close()
                self._child = None
            return
        self._result += data
        order = loading.receive_order(self._result) if self._phase is Phase.PREPARING else None
        match order:
            case Take(running, words, trial_s):
                self._stop_looking()
                self._fresh, self._trial_s = (running, words), trial_s
                self._order({"op": "rest"})  # In case they ever go on: what others did meanwhile is no drift.
                self._children.signal("hands", signal.SIGSTOP)
                self._apply(Phase.APPLYING, running)
            case Restart(again):
                self._stop_looking()
                self._answer("")
                self._back = False
                self._finish("")
                self._restart(again)
            case Word(kind, seconds):
                self._heed(kind, seconds)
                self._answer("")
                self._finish("")

    def _stop_looking(self) -> None:
        """What ends flows by the old file must not go on beside another one."""
        self._drainer.stop()
        self._sweeper.stop()

    def _heed(self, kind: str, seconds: float) -> None:
        """A word about the file on trial."""
        now = time.monotonic()
        if kind == "extend":
            self._trial.extend(now, seconds)
        elif kind == "back":
            self._trial.turn_back(now)
        else:
            self._trial.end()
        self._note("trial", {"subject": kind})

    # --- applying

    def _apply(self, phase: Phase, running: Running) -> None:
        new = phase is Phase.APPLYING
        self._phase = phase
        self._deadline = time.monotonic() + (APPLY_TIMEOUT_S if new else UNDO_TIMEOUT_S)
        meanwhile, complete = (running.meanwhile, running.announce) if new else ("", True)

        def body() -> None:
            # What failed may have left anything behind: then all of it is written.
            before = self._running().config.ruleset if new else ""
            NewHands(running, meanwhile=meanwhile, complete=complete, before=before).run(theirs)

        try:
            self._hands, theirs = messages.pair()
            with theirs:
                self._children.spawn("new-hands", body, theirs)
        except OSError as error:
            self._hands_failed(_no_process(error))
            return
        messages.send(self._hands, {"op": "apply"})
        if not new:
            messages.send(self._hands, {"op": "finish"})

    def _hear_hands(self) -> None:
        assert self._hands is not None
        try:
            answer = messages.receive(self._hands)
        except EOFError:
            self._hands_failed("the process for it ended")
            return
        if answer is None:
            return
        if error := str(answer.get("error", "")):
            self._hands_failed(error)
        elif self._phase is Phase.APPLYING:
            self._commit()
        elif answer["op"] == "finish":
            self._undone("")

    def _commit(self) -> None:
        assert self._fresh is not None
        assert self._hands is not None
        old, (fresh, words), hands = self._running(), self._fresh, self._hands
        try:
            self._adopt(fresh, hands)
        except OSError as error:
            self._hands_failed(_no_process(error))
            return
        self._hands = None
        digests = {"digest_old": old.digest, "digest_new": fresh.digest}
        took_ms = (time.monotonic_ns() - self._begun) // 1_000_000
        if self._back:
            self._trial.end()
            self._back = False
            self._note("trial", {"subject": "went back"})
        elif self._trial_s:
            self._trial.begin(old.options, time.monotonic(), self._trial_s)
        self._note("reloaded", {**digests, "changed": words, "took_ms": took_ms})
        self._finish("")

    def _hands_failed(self, error: str) -> None:
        """Of the first that fail the old file is put back, by others; if that fails too, the old hands remain."""
        self._dismiss_hands()
        if self._phase is Phase.APPLYING:
            self._failure = error
            self._apply(Phase.UNDOING, self._running())
        elif self._phase is Phase.UNDOING:
            self._undone(error)

    def _undone(self, error: str) -> None:
        self._dismiss_hands()
        self._let_go_on()
        self._finish(self._failure + (f"; putting the old file back: {error}" if error else ""))

    def _let_go_on(self) -> None:
        """The old hands, who watch again once they have applied what is theirs."""
        if self.changing:
            self._order({"op": "apply"})
            self._children.signal("hands", signal.SIGCONT)

    def _dismiss_hands(self) -> None:
        self._children.kill("new-hands")
        if self._hands is not None:
            self._hands.close()
            self._hands = None

    # --- the end

    def _finish(self, error: str) -> None:
        """Tell the process that loaded, which tells the client; it ends by itself, or is ended."""
        self._dismiss_hands()
        if self._child is not None:
            if self._fresh is not None:
                self._answer(error)
            elif error:
                self._children.kill(self._role)
            self._child.close()
        self._phase, self._child, self._fresh, self._failure = Phase.IDLE, None, None, ""
        if self._back:  # In vain.
            self._trial.failed(time.monotonic())
            self._back = False

    def _answer(self, error: str) -> None:
        if self._child is not None:
            with contextlib.suppress(OSError):
                self._child.send(json.dumps({"error": error}).encode() + b"\n")

    def _note(self, kind: str, line: dict[str, object]) -> None:
        self._lines.write(Instant(time.monotonic_ns()), {"kind": kind, **line})


def _no_process(error: OSError) -> str:
    return f"no process or socket can be made for it: {error.strerror or error}"
