"""A file on trial: the node goes back to the one before by itself unless it is told in time that all is well.

Whoever changes a pair may lose the way to it with that very change, or be killed in the middle. So every node that
takes a file on trial keeps what it ran before, and the instant until which it waits for `confirm`:

    a file is taken on trial      the first one's predecessor is kept, however many follow it
    `extend`                      the change goes on: wait so long again
    `confirm`                     for good; nothing is kept
    `back`, or time is over       the node takes the file before, as it took the new one: live or by a restart
    the way back fails            it is tried again, once a second, for ever

A way back that needs a restart waits for a standby: a node that serves may not leave its addresses to nobody, and the
node that does not serve goes first (`EARLIER_TRIES`).
"""

from dataclasses import dataclass
from typing import Final

from understudy.agent.again import Again
from understudy.agent.options import AgentOptions
from understudy.agent.running import Running

ON_TRIAL: Final = "E5236"
NO_TRIAL: Final = "E5237"
NO_WAY_BACK: Final = "E5238"
NOBODY_TAKES_OVER: Final = "E5239"
TRIAL_S_MAX: Final = 3600.0
RETRY_S: Final = 1.0
EARLIER_TRIES: Final = 4
"""So often a node that serves lets the other one restart first; each lasts RETRY_S."""


@dataclass(frozen=True, slots=True)
class Take:
    """A file that is ready to be applied live."""

    running: Running
    words: list[str]
    """What changes, a sentence each."""
    trial_s: float = 0.0
    """0: for good."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The agent is to begin anew."""

    again: Again


@dataclass(frozen=True, slots=True)
class Word:
    """About the file that is on trial: `confirm`, `extend` by `trial_s`, or `back`."""

    kind: str
    trial_s: float = 0.0


Order = Take | Restart | Word
"""What the process that loads hands to the supervisor."""


class Trial:
    """What a node goes back to, and when. Times are seconds of the monotonic clock."""

    def __init__(self, before: AgentOptions | None = None, deadline: float = 0.0, *, restarts: bool = False) -> None:
        self.before = before
        """None: nothing is on trial."""
        self.restarts = restarts and before is not None
        """The way back is a restart too."""
        self.deadline = deadline
        self.tries = 0
        """How often the way back was begun in vain."""

    @property
    def on(self) -> bool:
        return self.before is not None

    def begin(self, before: AgentOptions, now: float, seconds: float) -> None:
        """The node took a file in place of that in `before`."""
        if self.before is None:
            self.before = before
        self.extend(now, seconds)

    def extend(self, now: float, seconds: float) -> None:
        self.deadline = now + min(seconds, TRIAL_S_MAX)
        self.tries = 0

    def turn_back(self, now: float) -> None:
        """Whoever asks for it has seen to the other node."""
        self.deadline, self.tries = now, EARLIER_TRIES

    def end(self) -> None:
        """Confirmed, or gone back."""
        self.before, self.restarts, self.tries = None, False, 0

    def due(self, now: float) -> bool:
        """It is time to go back."""
        return self.on and now >= self.deadline

    def failed(self, now: float) -> None:
        """The way back could not be gone this time."""
        self.tries += 1
        self.deadline = now + RETRY_S
