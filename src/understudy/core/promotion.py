"""Becoming Active, as a list of steps. Two lists; both end with everybody knowing.

A failover says so first and answers then, as nobody else answers any more:

    fence (does anybody still answer?) -> gate (is the state here?) -> advertise -> addresses -> announce

A hand-over makes before it breaks: the addresses come up while the kernel lease still keeps them silent, then one
advertisement opens the lease, moves the switch's port and is followed by the announcements; only then the old Active
stops.

    gate -> addresses -> drain -> advertise -> announce

The gate (core.gate) comes before anything that others could notice. In a hand-over it is asked twice: first for what
may take long, then (`drain`), with the addresses up and still silent, for what the old Active has made meanwhile. A
group without replicated flows has no second time.

Guarantee: no failover goes past the fence before the LANs were asked `FENCE_QUESTIONS` times in a row in vain, unless
no other kernel can answer any more.
"""

from understudy.core.effects import AskAddresses, Effect, Step
from understudy.core.settings import GroupSettings
from understudy.core.timers import NEVER
from understudy.units import MILLISECOND, Duration, Instant

FAILOVER_STEPS = ("fence", "gate", "advertise", "addresses", "announce")
HANDOVER_STEPS = ("gate", "addresses", "drain", "advertise", "announce")
AT_GATE = frozenset({"gate", "drain"})

FENCE_QUESTIONS = 3
"""Several, since a question or an answer may be lost."""


def ask_window(advertise: Duration) -> Duration:
    """For the questions of one round of the fence and their answers."""
    return max(20 * MILLISECOND, min(advertise // 2, 100 * MILLISECOND))


class Promotion:
    """How far the promotion of a group has come, if one is under way; core.takeover does the steps. The fence, which is
    patient, is kept here.
    """

    def __init__(self, settings: GroupSettings) -> None:
        self.token = 0
        """The offer's in a hand-over, 0 in a failover."""
        self.row = ""
        """Name of the decision."""
        self.reason = ""
        self.cause = ""
        self.due: int = NEVER
        """When the step that waits has waited long enough."""
        self._settings = settings
        self._left: list[str] = []
        self._ask_window = ask_window(settings.advertise)
        self._questions = 0
        """How often the LANs were asked in the present round of the fence."""
        self._answered_by = ""
        self._told = False
        """That somebody answered; told once."""

    def begin(self, row: str, reason: str, cause: str, token: int) -> None:
        self.row, self.reason, self.cause, self.token = row, reason, cause, token
        steps = HANDOVER_STEPS if token else FAILOVER_STEPS
        self._left = [step for step in steps if self._settings.stateful or step != "drain"]
        self.due = NEVER
        self._questions, self._answered_by, self._told = 0, "", False

    def end(self) -> None:
        """However it ended."""
        self._left = []
        self.due = NEVER

    @property
    def under_way(self) -> bool:
        return bool(self._left)

    @property
    def step(self) -> str:
        """The one at hand; nothing when all are done."""
        return self._left[0] if self._left else ""

    @property
    def at_gate(self) -> bool:
        return self.step in AT_GATE

    def step_done(self) -> None:
        del self._left[0]
        self.due = NEVER

    # --- the fence

    def ask(self, now: Instant, out: list[Effect]) -> None:
        """One question of the fence, and time for its answer."""
        self._answered_by = ""
        self._questions += 1
        self.due = now + self._ask_window // FENCE_QUESTIONS
        out.append(AskAddresses(self._settings.name))

    def answered(self, address: str) -> None:
        """Somebody else still answers for one of the addresses."""
        if self.step == "fence":
            self._answered_by = address

    def fence_holds(self, now: Instant, out: list[Effect]) -> bool:
        """The time for an answer is over. False once nobody has answered a whole round of questions."""
        if self._answered_by:
            if not self._told:
                detail = f"{self._answered_by} still answers: its lease is alive"
                out.append(Step(self._settings.name, "fence", "waiting", detail))
            self._told = True
            self._answered_by = ""
            self._questions = 0
            self.due = now + max(self._ask_window, self._settings.advertise)
            return True
        if self._questions < FENCE_QUESTIONS:
            self.ask(now, out)
            return True
        return False
