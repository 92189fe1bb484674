"""The core's end of the line to the process that replicates flows (`agent.replicator`). Nothing here waits.

Either end may be another process than a moment ago: the core is forked anew and the line stays, or the replicator is.
So both tell states and not steps, and whoever begins says `hello`, to be told everything:

    core -> replicator    hello; own {owned}; ask {group, token, drain, generation}; compare {token, generation}; ping
    replicator -> core    hello {stream}; synced {group, complete, detail, elsewhere}; ready, compared (answers);
                          status {flows}

A question is repeated to a replicator that began after it. A replicator that says nothing for some seconds, though it
tells its status every second, counts as one without the state: it may be frozen, and so may its copies be old. Whether
a promotion waits for its answer is decided sooner: a few pings that it does not even take from the line, and nobody is
kept waiting. It answers none: that it has taken what was said is seen here, and wakes nobody. Where all groups whose
flows are replicated are ours there is nobody to wait for it, and no ping.
"""

import contextlib
import socket
from collections.abc import Callable, Collection
from typing import Any

from understudy.agent.messages import Message, receive, send, unread
from understudy.core.effects import AskFlows, OwnFlows
from understudy.core.events import Event, FlowsReady, SyncChanged
from understudy.units import SECOND, Duration, GroupName

READ_MAX = 64
"""Messages before the others get their turn."""
SILENCE_MAX = 3
"""Rounds of housekeeping without a word. Rounds, not seconds: if we were frozen, so was it."""
BEAT: Duration = SECOND // 3
"""Between two pings: each wakes the replicator."""
UNANSWERED_MAX = 2
"""Beats with something untaken after which a question is answered in its stead: a busy replicator takes what is said
sooner, its turns are bounded. Beats and not milliseconds, as above; and no more pings than these wait in the line."""
COMPARISONS_MAX = 8
"""Operators who wait for one at the same time."""
SILENT = "the process that replicates flows says nothing"
BEGAN = "the process that replicates flows began anew"
Answer = Callable[[dict[str, Any]], None]


class FlowsLink:
    """`feed` takes events into the core, whose groups are `groups`: promotions of the `stateful` ones ask."""

    def __init__(
        self,
        end: socket.socket,
        generation: int,
        groups: Collection[GroupName],
        stateful: Collection[GroupName],
        feed: Callable[[Event], None],
    ) -> None:
        self.socket = end
        self.flows: dict[str, Any] = {}
        """What the replicator said of itself last."""
        self.silent = False
        self._generation = generation
        self._groups = groups
        self._stateful = frozenset(stateful)
        self._feed = feed
        self._begun = False
        self._owned: set[GroupName] = set()
        self._asked: dict[GroupName, AskFlows] = {}
        self._synced: dict[GroupName, SyncChanged] = {}
        """What the core was told last."""
        self._comparing: dict[int, Answer] = {}
        self._comparisons = 0
        self._rounds = self._unanswered = 0
        self._unsaid = False
        """The line was full, or the replicator may be another: it must be told everything once more."""

    def begin(self) -> None:
        """The core knows what it holds: from now on the replicator shall."""
        self._begun = True
        self._tell_all()

    def own(self, effect: OwnFlows) -> None:
        (self._owned.add if effect.own else self._owned.discard)(effect.group)
        if self._begun:
            self._tell_owned()

    def ask(self, effect: AskFlows) -> None:
        self._asked[effect.group] = effect
        if self._begun:
            self._look()
            self._tell(_question(effect, self._generation))

    def compare(self, answer: Answer) -> None:
        """An operator wants to know; `answer` gets the result, or why there is none."""
        if self.silent or len(self._comparing) >= COMPARISONS_MAX:
            answer({"error": SILENT if self.silent else "others wait for a comparison already"})
            return
        self._comparisons += 1
        self._comparing[self._comparisons] = answer
        if not send(self.socket, {"op": "compare", "token": self._comparisons, "generation": self._generation}):
            self._comparing.pop(self._comparisons)
            answer({"error": SILENT})

    def read(self) -> None:
        """Take in what the replicator says."""
        with contextlib.suppress(EOFError):
            for _ in range(READ_MAX):
                message = receive(self.socket)
                if message is None:
                    return
                if self._begun:  # What was said before is said again in answer to our `hello`.
                    self._hear(message)

    def beat(self) -> None:
        """To be called every BEAT, and at once after a question to one that is `mute` or when a group is given up."""
        if not self._begun:
            return
        if self._stateful <= self._owned:
            self._unanswered = 0
            return
        self._look()
        if self._unanswered <= UNANSWERED_MAX:
            self._unanswered += 1
            send(self.socket, {"op": "ping"})
        if self.mute:  # Questions stay asked, for one that comes back or begins anew.
            for effect in list(self._asked.values()):
                self._feed(FlowsReady(effect.group, effect.token, False, SILENT, final=True, mute=True))

    @property
    def mute(self) -> bool:
        """Nobody should wait for it."""
        return self.silent or (self._unanswered > UNANSWERED_MAX and unread(self.socket))

    def housekeep(self) -> None:
        """To be called once a second."""
        self._rounds += 1
        if self._rounds > SILENCE_MAX and not self.silent:
            self.silent = True
            self._forget(SILENT)
        if self._unsaid and self._begun:
            self._tell_all()

    def describe(self) -> dict[str, Any]:
        return {"running": not self.silent, **self.flows}

    def _look(self) -> None:
        """Has it taken everything?"""
        if self._unanswered and not unread(self.socket):
            self._unanswered = 0

    def _hear(self, message: Message) -> None:
        self._rounds = self._unanswered = 0
        if self.silent:
            self.silent = False
            self._tell_all()
        match message.get("op"):
            case "hello":
                self._forget(BEGAN)
                self._tell_all()
            case "synced" if message["group"] in self._groups:  # A replicator of the file before may have said it.
                complete, elsewhere = bool(message["complete"]), bool(message.get("elsewhere"))
                self._sync(GroupName(message["group"]), complete, str(message["detail"]), elsewhere)
            case "status":
                self.flows = message["flows"]
            case "ready" if message.get("generation") == self._generation:
                self._ready(message)
            case "compared" if message.get("generation") == self._generation:
                answer = self._comparing.pop(int(message["token"]), None)
                if answer is not None:
                    answer({name: value for name, value in message.items() if name not in ("op", "generation")})

    def _ready(self, message: Message) -> None:
        group, token = GroupName(message["group"]), int(message["token"])
        complete, final = bool(message["complete"]), bool(message["final"])
        asked = self._asked.get(group)
        if asked is not None and asked.token == token and (complete or final):
            del self._asked[group]
        self._feed(FlowsReady(group, token, complete, str(message["detail"]), final))

    def _sync(self, group: GroupName, complete: bool, detail: str, elsewhere: bool = False) -> None:
        told = SyncChanged(group, complete, detail, elsewhere)
        if self._synced.get(group) != told:
            self._synced[group] = told
            self._feed(told)

    def _forget(self, why: str) -> None:
        """What this replicator held for us, or another before it, is not known any more."""
        for group, told in sorted(self._synced.items()):
            if told.complete:
                self._sync(group, False, why)
        waiting, self._comparing = self._comparing, {}
        for answer in waiting.values():
            answer({"error": why})

    def _tell_all(self) -> None:
        self._unsaid = False
        self._tell({"op": "hello"})
        self._tell_owned()
        for effect in self._asked.values():
            self._tell(_question(effect, self._generation))

    def _tell_owned(self) -> None:
        self._tell({"op": "own", "owned": sorted(self._owned)})

    def _tell(self, message: Message) -> None:
        if not send(self.socket, message):
            self._unsaid = True


def _question(effect: AskFlows, generation: int) -> Message:
    return {
        "op": "ask",
        "group": effect.group,
        "token": effect.token,
        "drain": effect.drain,
        "generation": generation,
    }
