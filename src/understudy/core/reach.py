"""How well this node reaches one LAN: the evidence by which a group goes to the node that reaches more.

Carrier alone does not tell: a switch can drop everything behind a port that looks healthy, and the two nodes then only
see that they no longer hear each other. So a node asks somebody else (a witness: another node of the file, a declared
gateway, a neighbour that the kernel knows, or one that the peer told us of) as soon as the peer falls silent on a LAN.

    DOWN < SILENT < UNKNOWN < REACHED     no carrier < nobody answers < nobody to ask < somebody is heard

To hear the peer is half of it: a cable may lose what this node sends and bring what others say, and then nobody on the
LAN hears us. So each node tells the other on which LANs it hears it (`hears`, in the heartbeat, over every path). While
the peer denies that it hears us on a LAN, its voice there counts for nothing, and the witnesses decide: an answer
proves both ways. A denial begins the asking, and the LAN is silent when it has lasted for an interval without an
answer: the loss of one heartbeat moves nothing. Both nodes count from the same moment then, the last at which each
heard the other, so that a LAN which is dead for both falls silent on both at once.

After a while of asking often the pace slows down, and the window in which an answer counts grows with it.
"""

from understudy.core.effects import AskWitnesses, Effect
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant, NetworkName
from understudy.wire.heartbeat import WITNESSES_MAX, Hears, Reach

_HURRY: Duration = 2 * SECOND
_PACE_SLOW: Duration = 500 * MILLISECOND
_NEVER = -(1 << 62)
_FAR = 1 << 62
_REACHED = Reach.REACHED


class LanReach:
    """One LAN as this node sees it. `handle` is called when time passes, the other methods when something is heard."""

    __slots__ = (
        "_answered_at",
        "_ask_after",
        "_asked_at",
        "_candidates",
        "_deaf_at",
        "_first",
        "_interval",
        "_path",
        "_proven_at",
        "_quiet_since",
        "carrier",
        "denied",
        "due",
        "heard_at",
        "hears",
        "learned",
        "network",
        "reach",
        "told",
        "witnesses",
    )

    def __init__(
        self, network: NetworkName, interval: Duration, witnesses: tuple[Address, ...], *, path: bool = True
    ) -> None:
        """`path`: the peer's heartbeats could arrive here."""
        self.network = network
        self.witnesses = witnesses
        self.learned: tuple[Address, ...] = ()
        self.told: tuple[Address, ...] = ()
        self.carrier = True
        self.reach = Reach.UNKNOWN
        self.heard_at: int = _NEVER
        """When the peer was last heard on this LAN."""
        self.hears = Hears.UNSAID
        """Whether its heartbeats arrive here: told to it."""
        self.denied = False
        """The peer says that it does not hear us here."""
        self._deaf_at: int = _FAR
        """When to say that we do not hear it."""
        self._proven_at: int = _NEVER
        """When the peer was last heard here and did not deny that it hears us."""
        self._answered_at: int = _NEVER
        self._asked_at: int = _NEVER
        self._quiet_since: int = _NEVER
        self._interval = interval
        self._path = path
        self._ask_after: Duration = interval * 3 // 2
        self._first: Duration = 0
        """From the peer's last word to the first thing that is due."""
        self.due: int = _FAR
        """The next moment at which asking or judging is due; kept, since it is asked for with every event."""
        self._candidates: tuple[Address, ...] = ()
        self._choose_candidates()

    def start(self, now: Instant) -> None:
        """Silence is counted from here."""
        self._listen_anew(now)
        self.heard(now)

    def heard(self, now: Instant) -> bool:
        """The peer was heard here. True if the reach changed."""
        self.heard_at = now
        if self.denied:
            self.due = min(self.due, self._deaf_at)
            return False
        self._proven_at = now
        if self.reach is _REACHED:
            due = now + self._first
            self.due = due if due < self._deaf_at else self._deaf_at
            return False
        return self._set(self._judge(now))

    def heartbeat(self, now: Instant) -> bool:
        """One of the peer's heartbeats came this way. True if the reach changed."""
        self.hears = Hears.YES
        self._deaf_at = now + self._ask_after
        return self.heard(now)

    def hear_word(self, now: Instant, hears: Hears, out: list[Effect]) -> bool:
        """The peer says whether it hears us here, or no longer says anything. True if the reach changed."""
        denied = hears is Hears.NO
        if denied is self.denied:
            return False
        self.denied = denied
        # It has missed us for as long as we would before asking.
        self._proven_at = min(self._proven_at, now - self._ask_after) if denied else self.heard_at
        return self.handle(now, out)

    def answered(self, now: Instant) -> bool:
        """A witness answered here. True if the reach changed."""
        self._answered_at = now
        return self._set(Reach.REACHED if self.reach is Reach.REACHED else self._judge(now))

    def set_carrier(self, now: Instant, up: bool) -> bool:
        """True if the reach changed. A port that comes back starts with what it knows by asking at once."""
        self.carrier = up
        self._listen_anew(now)
        if up:
            self._asked_at = _NEVER
            self._quiet_since = now
        else:
            self.heard_at = self._proven_at = self._answered_at = _NEVER
        return self._set(self._judge(now))

    def handle(self, now: Instant, out: list[Effect]) -> bool:
        """Ask and judge as time requires; True if the reach changed."""
        if now >= self._deaf_at:
            self.hears, self._deaf_at = Hears.NO, _FAR
        if self.carrier and now - self._proven_at >= self._ask_after:
            if self._quiet_since < self._proven_at or self._quiet_since == _NEVER:
                self._quiet_since = now
            candidates = self._candidates
            if candidates and now - self._asked_at >= self._pace():
                self._asked_at = now
                out.append(AskWitnesses(self.network, candidates))
        return self._set(self._judge(now))

    def next_deadline(self) -> Instant:
        """When to call `handle` at the latest."""
        return Instant(self.due)

    def learn(self, addresses: tuple[Address, ...]) -> bool:
        """The kernel's neighbours here; True if they are others than before."""
        changed = addresses[:WITNESSES_MAX] != self.learned
        if changed:
            self.learned = addresses[:WITNESSES_MAX]
            self._choose_candidates()
        return changed

    def take_hint(self, addresses: tuple[Address, ...]) -> None:
        """Whom the peer could ask here."""
        if addresses != self.told:
            self.told = addresses
            self._choose_candidates()

    def candidates(self) -> tuple[Address, ...]:
        """Whom to ask, the most telling first."""
        return self._candidates

    def _listen_anew(self, now: Instant) -> None:
        """Nothing is said of whether the peer is heard before we have listened for a while."""
        self.hears = Hears.UNSAID
        self._deaf_at = now + self._ask_after if self.carrier and self._path else _FAR

    def _choose_candidates(self) -> None:
        self._candidates = tuple(dict.fromkeys((*self.learned, *self.witnesses, *self.told)))[:WITNESSES_MAX]
        self._first = self._ask_after if self._candidates else self._interval * 5 // 2
        self._arm()

    def _arm(self) -> None:
        """Set `due`."""
        if not self.carrier:
            self.due = _FAR
            return
        judge = self._last() + self._window() if self.reach is Reach.REACHED else _FAR
        if self._candidates:
            ask = max(self._proven_at + self._ask_after, self._asked_at + self._pace())
            self.due = min(judge, ask, self._deaf_at)
        else:
            self.due = min(judge, self._deaf_at)

    def _last(self) -> int:
        return max(self._proven_at, self._answered_at)

    def _pace(self) -> Duration:
        """From one question to the next: fixed when the former is asked, so that asking and `next_deadline` agree."""
        if self._quiet_since <= self._proven_at or self._asked_at - self._quiet_since < _HURRY:
            return self._interval // 2
        return max(self._interval, _PACE_SLOW)

    def _window(self) -> Duration:
        """How long a sign of life counts: two and a half intervals, or three questions at the slow pace.

        A sign that has counted for nothing already does not count again because the pace has slowed down.
        """
        if self.reach is not _REACHED:
            return self._interval * 5 // 2
        slow = self._quiet_since > self._proven_at and self._asked_at - self._quiet_since >= _HURRY - _PACE_SLOW
        return max(self._interval * 5 // 2, 3 * _PACE_SLOW if slow else 0)

    def _judge(self, now: Instant) -> Reach:
        if not self.carrier:
            return Reach.DOWN
        if now - self._last() < self._window():
            return Reach.REACHED
        return Reach.SILENT if self._candidates else Reach.UNKNOWN

    def _set(self, reach: Reach) -> bool:
        changed = reach is not self.reach
        self.reach = reach
        self._arm()
        return changed
