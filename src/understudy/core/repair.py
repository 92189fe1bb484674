"""Repair what others change, but do not fight: when to put things right again, and when to stop in an alarm.

Somebody who reloads a firewall is set right at once, a few times in a row if need be. Somebody who changes the same
kind of thing again and again is another manager with another will: repairing for ever would load the kernel, cut users
off at every turn and hide the cause. So there is a budget for each kind of object; beyond it we stop, say who and what,
and try again after 30 s, then at twice the distance each time, up to 10 minutes.

    calm       a difference is repaired at once
    failing    a repair failed: tried again as soon as something else is found, and by the clock
    fighting   the budget is spent: tried again by the clock alone; calm after a quiet time

An alarm begins with `failing` or `fighting` and ends with it. Whatever becomes right by itself counts as right.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final

from understudy.units import SECOND, Duration, Instant

REPAIRS_MAX: Final = 10
"""Of one kind within `WINDOW`. A person, or a script that touches a dozen things in a row, stays below; a fight, which
goes at the speed of two event loops, is over it in less than a second."""
WINDOW: Duration = 10 * SECOND
QUIET: Duration = 10 * SECOND
"""Without a difference after a repair: the fight is over."""
FIGHT_PAUSE: Duration = 30 * SECOND
FAILURE_PAUSE: Duration = SECOND
PAUSE_MAX: Duration = 600 * SECOND


class Kind(StrEnum):
    """What is looked at, counted and repaired as one."""

    RULESET = "ruleset"
    LINKS = "links"
    ADDRESSES = "addresses"
    RULES = "rules"
    SYSCTLS = "sysctls"


@dataclass(frozen=True, slots=True)
class Differs:
    """Event: the kernel does not hold what it shall. `who` is empty if nobody can tell."""

    kind: Kind
    what: str
    who: str = ""


@dataclass(frozen=True, slots=True)
class Right:
    """Event: looked at, and found as it shall be."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class Finished:
    """Event: the repair that was asked for is done, or failed."""

    kind: Kind
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Event: a deadline has come."""


Event = Differs | Right | Finished | Tick


@dataclass(frozen=True, slots=True)
class Repair:
    """Effect: make it right now; `Finished` is the answer."""

    kind: Kind
    what: str
    who: str


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """Effect: a person must look. Again for the same kind when its reason changes."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class AlarmEnded:
    """Effect: what the alarm was about is over."""

    kind: Kind


Effect = Repair | AlarmRaised | AlarmEnded


class _Mood(Enum):
    CALM = auto()
    FAILING = auto()
    FIGHTING = auto()


@dataclass(slots=True)
class _State:
    mood: _Mood = _Mood.CALM
    repairs: deque[Instant] = field(default_factory=deque)
    """When, within the window."""
    what: str = ""
    who: str = ""
    broken: bool = False
    reason: str = ""
    """Of the alarm that stands."""
    pause: Duration = 0
    due: int | None = None
    """When to try again without being asked."""
    quiet_since: int = 0


class Mender:
    """The machine, for all kinds of one node."""

    def __init__(self) -> None:
        self._states = {kind: _State() for kind in Kind}

    def handle(self, now: Instant, event: Event) -> list[Effect]:
        match event:
            case Differs(kind):
                return self._differs(now, self._states[kind], event)
            case Right(kind):
                return self._right(kind, self._states[kind])
            case Finished(kind, error):
                return self._finished(now, kind, self._states[kind], error)
            case Tick():
                return [effect for kind, state in self._states.items() for effect in self._tick(now, kind, state)]

    def next_deadline(self) -> Instant | None:
        due = [moment for state in self._states.values() if (moment := _deadline(state)) is not None]
        return Instant(min(due)) if due else None

    def _differs(self, now: Instant, state: _State, event: Differs) -> list[Effect]:
        same = state.broken and state.what == event.what
        state.what, state.who = event.what, event.who
        state.broken = True
        state.quiet_since = now
        match state.mood:
            case _Mood.FAILING if same:
                return []
            case _Mood.FIGHTING:
                if state.due is None:  # what we repaired was changed once more
                    state.pause = min(2 * state.pause, PAUSE_MAX)
                    state.due = now + state.pause
                return []
        while state.repairs and now - state.repairs[0] >= WINDOW:
            state.repairs.popleft()
        if len(state.repairs) < REPAIRS_MAX:
            state.repairs.append(now)
            return [Repair(event.kind, event.what, event.who)]
        state.mood, state.pause = _Mood.FIGHTING, FIGHT_PAUSE
        state.due = now + state.pause
        return _alarm(
            event.kind, state, f"{state.who or 'somebody'} changes it as often as it is repaired: {state.what}"
        )

    def _right(self, kind: Kind, state: _State) -> list[Effect]:
        state.broken = False
        if state.mood is _Mood.FAILING:
            return self._calm(kind, state)
        if state.mood is _Mood.FIGHTING:
            state.due = None
        return []

    def _finished(self, now: Instant, kind: Kind, state: _State, error: str) -> list[Effect]:
        if not error:
            state.quiet_since = now
            return self._right(kind, state)
        if state.mood is _Mood.CALM:
            state.mood, state.pause = _Mood.FAILING, FAILURE_PAUSE
        else:
            state.pause = min(2 * state.pause, PAUSE_MAX)
        state.due = now + state.pause
        return _alarm(kind, state, f"{state.what}, and it cannot be repaired: {error}")

    def _tick(self, now: Instant, kind: Kind, state: _State) -> list[Effect]:
        deadline = _deadline(state)
        if deadline is None or now < deadline:
            return []
        if state.due is None:
            return self._calm(kind, state)
        state.due = None
        return [Repair(kind, state.what, state.who)] if state.broken else []

    def _calm(self, kind: Kind, state: _State) -> list[Effect]:
        state.mood, state.due, state.pause, state.reason = _Mood.CALM, None, 0, ""
        state.repairs.clear()
        return [AlarmEnded(kind)]


def _alarm(kind: Kind, state: _State, reason: str) -> list[Effect]:
    if reason == state.reason:
        return []
    state.reason = reason
    return [AlarmRaised(kind, reason)]


def _deadline(state: _State) -> int | None:
    if state.due is not None:
        return state.due
    return state.quiet_since + QUIET if state.mood is _Mood.FIGHTING and not state.broken else None
