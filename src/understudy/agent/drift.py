"""Drift: what others change of ours in this kernel is found by its events, put right, and told.

Part of the hands, the one process of a node that changes its kernel: only it knows which changes are its own, and what
the role of the moment wants. Between two commands it reads the kernel's news (`adapters.watch`), looks at what they may
concern (`adapters.damage`), repairs as `core.repair` decides, and has a message for the core, which writes the journal
and has an Active announce itself again.

The kernel tells nobody of most settings: those are read every 50 ms, from files that stay open. Idle, all of this takes
0.3 % of a CPU.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from understudy.adapters.damage import Inspector
from understudy.adapters.nftables import Nft
from understudy.adapters.watch import NewsLostError, RouteWatch
from understudy.agent.guardian import Guardian
from understudy.agent.messages import Message
from understudy.agent.ruleset_news import TOO_MANY, RulesetNews, summary
from understudy.core.repair import (
    AlarmEnded,
    AlarmRaised,
    Differs,
    Effect,
    Event,
    Finished,
    Kind,
    Mender,
    Repair,
    Right,
    Tick,
)
from understudy.errors import EnvironmentFailure
from understudy.render.model import NodeConfig
from understudy.units import MILLISECOND, SECOND, Duration, GroupName, Instant

SYSCTLS_EVERY: Duration = 50 * MILLISECOND
FIRST_TURN_LATER: Duration = 200 * MILLISECOND
ANNOUNCED: Final = frozenset({Kind.RULESET, Kind.LINKS, Kind.ADDRESSES})
"""What is not over with the repair: the lease may be gone with the rule set, and neighbours may have learned that
nobody answers."""


class Drift:
    """Watches for the hands. `ruleset` is what the kernel shall hold now, servers that are down included; `unquieten`
    ends the quiet of every group that is not being handed over.
    """

    def __init__(
        self, config: NodeConfig, nft: Nft, ruleset: Callable[[], str], unquieten: Callable[[], str] = str
    ) -> None:
        self._config = config
        self._nft = nft
        self._ruleset = ruleset
        self._unquieten = unquieten
        self._inspector = Inspector(config)
        self._guardian = Guardian()
        self._news_of_rules = RulesetNews(nft, ruleset)
        self._news_of_routes = RouteWatch()
        self._mender = Mender()
        self._roles: dict[GroupName, bool] = {}
        self._damage: dict[Kind, tuple[str, str]] = {}
        """What differs at this moment, and who did it."""
        self._to_refill = False
        self._sysctls_at = 0
        self._count = 0
        self._last: dict[str, Any] | None = None
        self._alarms: dict[Kind, dict[str, Any]] = {}
        self._lines: list[dict[str, Any]] = []
        self._repaired: set[Kind] = set()
        self._watching = self._unseen = False

    # --- for the hands

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What to wait for, beside `wait_s`."""
        if not self._watching or self._unseen:
            return ()
        return self._news_of_rules.socket, self._news_of_routes.socket

    @property
    def wait_s(self) -> float | None:
        """When `work` wants its turn at the latest."""
        if not self._watching:
            return None
        if self._to_refill:
            return 0
        due = min(self._sysctls_at, self._mender.next_deadline() or self._sysctls_at)
        return max(0, due - time.monotonic_ns()) / SECOND

    def begin(self) -> None:
        """The kernel has just been made right by us: from now on it is to stay so.

        What there is to find out first is left to the first turn: a core that shall adopt waits for its answer.
        """
        self._mender = Mender()
        self._damage.clear()
        self._alarms.clear()
        self._watching = self._unseen = True
        self._sysctls_at = time.monotonic_ns() + FIRST_TURN_LATER

    def look_anew(self) -> None:
        """At everything, in the next turn: what is wanted is known better than at the last one."""
        self._unseen = self._watching

    def rest(self) -> None:
        """Watch no more, and let other hands make the guard; until the next `begin`."""
        self._watching = False
        self._guardian.drop()

    def close(self) -> None:
        self.rest()
        self._inspector.close()
        self._news_of_rules.close()
        self._news_of_routes.close()

    def expect(self, config: NodeConfig) -> None:
        """From here on settings are to have other values: the core wants it so."""
        self._config = config
        self._inspector.expect(config)

    def role(self, group: GroupName, active: bool | None) -> None:
        """What the core wants of a group now; None while nobody knows what the kernel made of it."""
        if active is None:
            self._roles.pop(group, None)
        else:
            self._roles[group] = active

    def summary(self) -> dict[str, Any]:
        """For `status`: how often, the last one, and what a person must look at."""
        return {"count": self._count, "last": self._last, "alarms": list(self._alarms.values())}

    def work(self, ready: Sequence[object]) -> Message | None:
        """Read the news of the sockets that are ready, look, repair; a message for the core if there is any to tell."""
        now = time.monotonic_ns()
        if not ready and self._is_right(now):
            return None
        kinds: set[Kind] = set()
        who = ""
        if self._news_of_routes.socket in ready:
            kinds, who = self._take_route_news()
        if now >= self._sysctls_at:
            self._sysctls_at = now + SYSCTLS_EVERY
            kinds.add(Kind.SYSCTLS)
        if self._guardian.wanted(now, self._unseen):
            self._guardian.make(self._config.guard)
        if self._unseen:
            self._unseen = False
            kinds.update(Kind)
        try:
            if self._to_refill:
                self._refill()
            if not self._news_of_rules.knows_us:
                self._news_of_rules.learn_own_pid()
            if self._news_of_rules.socket in ready and self._news_of_rules.read():
                self._repaired.add(Kind.RULESET)
                self._tell({"kind": "news-lost", "subject": "ruleset", "detail": TOO_MANY})
            self._take_damage_of_rules()
            self._look(kinds, who)
        except (EnvironmentFailure, OSError, ValueError) as failure:
            self._tell({"kind": "error", "subject": "drift", "detail": str(failure)})
        self._take_damage_of_rules()
        for kind, (what, whose) in list(self._damage.items()):
            self._feed(Differs(kind, what, whose))
        deadline = self._mender.next_deadline()
        if deadline is not None and deadline <= time.monotonic_ns():
            self._feed(Tick())
        if not self._lines:
            return None
        lines, self._lines = self._lines, []
        restored, self._repaired = bool(self._repaired & ANNOUNCED), set()
        return {"op": "drift", "lines": lines, "restored": restored, "drift": self.summary()}

    # --- finding

    def _is_right(self, now: int) -> bool:
        """Nothing is the matter but that settings are to be read, and they are as they shall be: mostly so."""
        rests = not (self._unseen or self._to_refill or self._damage or self._alarms or self._lines)
        if not rests or not self._news_of_rules.knows_us or self._guardian.wanted(now, False):
            return False
        if now < self._sysctls_at or self._mender.next_deadline() is not None or self._inspector.look_at_sysctls():
            return False
        self._sysctls_at = now + SYSCTLS_EVERY
        return True

    def _take_damage_of_rules(self) -> None:
        found = self._news_of_rules.take()
        if found is not None:
            self._damage[Kind.RULESET] = found

    def _take_route_news(self) -> tuple[set[Kind], str]:
        """What to look at, and who may have changed it."""
        kinds, who = set(), ""
        try:
            for change in self._news_of_routes.read():
                if not change.index or self._inspector.concerns(change.index):
                    kinds.add(change.kind)
                    who = change.who or who
        except NewsLostError:
            kinds.update(Kind)
        return kinds, who

    def _look(self, kinds: set[Kind], who: str) -> None:
        found: dict[Kind, list[str]] = {}
        if kinds & {Kind.LINKS, Kind.ADDRESSES}:
            found.update(self._inspector.look_at_links(self._roles))
        if Kind.RULES in kinds:
            found[Kind.RULES] = self._inspector.look_at_rules()
        if Kind.SYSCTLS in kinds:
            found[Kind.SYSCTLS] = self._inspector.look_at_sysctls()
        for kind, words in found.items():
            if words:
                self._damage[kind] = (summary(words), who if kind is not Kind.SYSCTLS else "")
            elif self._damage.pop(kind, None) is not None or kind in self._alarms:
                self._feed(Right(kind))

    # --- repairing

    def _feed(self, event: Event) -> None:
        for effect in self._mender.handle(Instant(time.monotonic_ns()), event):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Repair(kind, what, who):
                self._repair(kind, what, who)
            case AlarmRaised(kind, reason):
                self._alarms[kind] = {"object": kind, "reason": reason, "since_ns": time.monotonic_ns()}
                self._tell({"kind": "drift-alarm", "object": kind, "on": True, "detail": reason})
            case AlarmEnded(kind):
                self._alarms.pop(kind, None)
                self._tell({"kind": "drift-alarm", "object": kind, "on": False, "detail": "as it should be again"})

    def _repair(self, kind: Kind, what: str, who: str) -> None:
        begun, error = time.monotonic_ns(), ""
        damage = self._damage.pop(kind, (what, who))
        try:
            self._put_right(kind)
            self._repaired.add(kind)
        except (EnvironmentFailure, OSError) as failure:
            error = str(failure)
            self._damage[kind] = damage
        self._count += 1
        self._last = {"at_ns": begun, "object": kind, "what": what, "who": who, "error": error}
        took = time.monotonic_ns() - begun
        self._tell({"kind": "drift", "object": kind, "what": what, "who": who, "error": error, "took_ns": took})
        self._feed(Finished(kind, error))

    def _put_right(self, kind: Kind) -> None:
        match kind:
            case Kind.RULESET:
                self._nft.restore_rules(self._ruleset())
                self._nft.run(self._unquieten())  # an element that others put there would stay
                self._to_refill = self._news_of_rules.take_beyond_rules()
            case Kind.LINKS | Kind.ADDRESSES:
                self._inspector.repair_links(self._roles)
            case Kind.RULES:
                self._inspector.repair_rules()
            case Kind.SYSCTLS:
                self._inspector.repair_sysctls()

    def _refill(self) -> None:
        """What rules look up follows in a turn of its own: the core can have the lease opened meanwhile.

        Until then new connections to services wait, as in the gap (`render.rules`).
        """
        self._to_refill = False
        try:
            self._nft.apply(self._ruleset())
        except EnvironmentFailure as failure:
            self._news_of_rules.miss(f"sets and maps are not filled: {failure.reason}")
        self._news_of_rules.pass_over_own()

    def _tell(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
