"""Carries a planned change out, step by step, and takes it back if one fails.

Every node takes the file on trial (agent.trial): if this process disappears, each node goes back by itself when its
time is over. While it lives it asks for more time between its looks at the nodes, and confirms at the very end. A step
is done once all nodes are as expected (`judge`), for which it waits; what is not so in time is a failed step. Then the
nodes that took the file go back, the last one first, and each is looked at again.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from understudy.errors import OperatorError
from understudy.rollout.agents import NO_ANSWER, Agents, Reply, not_ours, refusal
from understudy.rollout.judge import Expected, Sight, holders_of, problems
from understudy.rollout.nodes import Answers, Nodes
from understudy.rollout.plan import Step
from understudy.units import MILLISECOND

POLL_S = 0.05
EXTEND_SHARE = 3
"""More time is asked for after this part of it has passed."""
AGAIN_S = 1.0
"""Between two orders to hand a group over: as long as a node waits itself before it offers one again."""


class StepFailedError(Exception):
    """What was expected did not come about."""


@dataclass(slots=True)
class Done:
    """A step that was carried out, or begun."""

    node: str
    action: str
    result: str
    """`ok` or `failed`."""
    begun: int
    ended: int
    detail: str = ""

    @property
    def took_ms(self) -> float:
        return round((self.ended - self.begun) / MILLISECOND, 1)


@dataclass(frozen=True, slots=True)
class Timing:
    trial_s: float = 20.0
    """A node that hears nothing for so long goes back."""
    step_s: float = 30.0
    """A step may last so long until all nodes are as expected."""
    observe_s: float = 0.0
    """They have to be so for at least so long after a node took the file."""
    services: frozenset[str] = frozenset()
    """Of these the checks have to have come in by then, however late they are."""


@dataclass(slots=True)
class Outcome:
    steps: list[Done] = field(default_factory=list)
    error: str = ""
    """Why it was taken back; empty if it was not."""
    stuck: list[str] = field(default_factory=list)
    """Nodes that could not be led back: they go on trying by themselves."""


class Rollout:
    """One change. `digest` is the new file's; `free` are groups that may move by
    themselves (preemption). `stop` says whether somebody has asked to give it up.
    """

    def __init__(
        self,
        agents: Agents,
        nodes: Sequence[str],
        digest: str,
        timing: Timing,
        *,
        free: frozenset[str] = frozenset(),
        answers: Answers = dict,
        told: Callable[[Done], None] = lambda done: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._agents = agents
        self._nodes = Nodes(agents, nodes, answers)
        self._digest = digest
        self._timing = timing
        self._movable = free
        self._told = told
        self._stop = stop
        self._forward = True
        self._outcome = Outcome()
        self._on_trial: dict[str, str] = {}
        """The nodes that took the file, in order, and how."""
        self._confirmed: list[str] = []
        self._extended = time.monotonic()
        self._before = Sight({})
        self._digests: dict[str, str] = {}
        self._old: dict[str, str] = {}
        self._holders: dict[str, str] = {}
        self._origin: dict[str, str] = {}
        self._handed: dict[str, bool] = {}

    def run(self, steps: Sequence[Step]) -> Outcome:
        """Every outcome is in the answer."""
        try:
            self._remember()
            for step in steps:
                with self._step(step.node, step.action if not step.to else f"switchover {step.group}"):
                    self._do(step)
        except StepFailedError as failure:
            self._outcome.error, self._forward = str(failure), False
            self._take_back()
        return self._outcome

    # --- forward

    def _remember(self) -> None:
        """Every node as it is before the change. Raises StepFailedError if one does not answer."""

        def seen() -> bool:
            self._before = self._nodes.look()
            return self._before.statuses.keys() >= set(self._nodes.names)

        self._until(seen, lambda: f"{', '.join(set(self._nodes.names) - self._before.statuses.keys())} does not answer")
        self._old = {node: str(status["digest"]) for node, status in self._before.statuses.items()}
        self._origin = {group: held[0] for group, held in holders_of(self._before.statuses.values()).items() if held}
        self._digests, self._holders, self._handed = dict(self._old), dict(self._origin), _handed(self._before)

    def _do(self, step: Step) -> None:
        match step.action:
            case "reload":
                self._on_trial[step.node] = "reload"
                self._require(self._agents.reload(step.node, self._timing.trial_s))
                self._digests[step.node] = self._digest
            case "restart":
                # The same file again is no trial: of the code that was installed before nothing is left to go back to.
                trial_s = self._timing.trial_s if self._old[step.node] != self._digest else 0.0
                if trial_s:
                    self._on_trial[step.node] = "restart"
                self._restart(step.node, lambda: self._agents.restart(step.node, trial_s))
                self._digests[step.node] = self._digest
            case "switchover":
                self._hand_over(step.node, step.group, step.to)
                return
            case "confirm":
                if step.node in self._on_trial:
                    self._require(self._agents.say(step.node, "confirm"))
                    del self._on_trial[step.node]
                    self._confirmed.append(step.node)
                return
        self._settle(step.node)

    def _restart(self, node: str, ask: Callable[[], Reply]) -> None:
        """Returns once another life of the agent answers."""
        epoch = int(self._agents.status(node)["epoch"])
        self._require(_last_word(ask))
        self._until(lambda: self._nodes.epoch(node) > epoch, f"the agent of {node} does not come back")
        if self._runs(node, f"the agent of {node} does not answer") != self._digest:
            raise StepFailedError(
                f"{node} could not begin with the file and runs its old one: see agent.log or its unit"
            )

    def _hand_over(self, node: str, group: str, to: str) -> None:
        self._until(lambda: self._nodes.group(node, group) is not None, f"{node} does not answer")
        if self._nodes.serves(node, group):  # It may have moved by itself.
            self._settle(sync=True)
        self._move(node, group)
        self._holders[group] = to
        self._settle()

    def _move(self, node: str, group: str, to: str = "") -> None:
        """Returns once `node` does not serve the group any more, and `to` does, if named.

        An offer that nobody took in time, or whose core has ended, is no more: it is asked for again.
        """
        asked, why = -math.inf, ""

        def moved() -> bool:
            nonlocal asked, why
            state = self._nodes.group(node, group)
            if state is None:
                return False
            if state["role"] != "active":
                return not to or self._nodes.serves(to, group)
            if not state.get("phase") and time.monotonic() - asked > AGAIN_S:
                asked = time.monotonic()
                try:
                    why = refusal(self._agents.switchover(node, group))
                except OperatorError as error:
                    why = str(error)
            return False

        self._until(moved, lambda: why or f"nobody takes {group} over")

    def _settle(self, taken: str = "", *, sync: bool | None = None) -> None:
        """Wait until all nodes are as expected, and see that they stay so. Raises StepFailedError, with what is not.

        `taken`: the node that has just taken the file; its checks are to tell what they find with it.
        """
        holders = {group: holder for group, holder in self._holders.items() if group not in self._movable}
        expected = Expected(self._digests, holders, sync)
        found: list[str] = []

        def well() -> bool:
            found[:] = problems(self._before, self._nodes.look(kernel=False), expected)
            if not found:  # Looked at last, since it is dear.
                found[:] = problems(self._before, self._nodes.look(), expected)
            return not found

        until = time.monotonic() + self._timing.observe_s
        self._until(well, lambda: "; ".join(found[:3]))
        if taken and self._timing.observe_s:
            while time.monotonic() < until:
                self._extend()
                time.sleep(POLL_S)
            expected = replace(expected, checked={taken: self._timing.services})
            self._until(well, lambda: "; ".join(found[:3]))

    def _until(self, condition: Callable[[], bool], otherwise: str | Callable[[], str]) -> None:
        deadline = time.monotonic() + self._timing.step_s
        while not condition():
            self._heed()
            if time.monotonic() > deadline:
                raise StepFailedError(otherwise if isinstance(otherwise, str) else otherwise())
            self._extend()
            time.sleep(POLL_S)
        self._extend()

    def _runs(self, node: str, otherwise: str) -> str:
        """The digest of its file, once it answers."""
        digest = ""

        def answers() -> bool:
            nonlocal digest
            digest = self._nodes.digest(node)
            return digest != ""

        self._until(answers, otherwise)
        return digest

    def _heed(self) -> None:
        """On the way back nothing is heeded: half of it would help nobody."""
        if self._forward and self._stop():
            raise StepFailedError("interrupted")

    def _extend(self) -> None:
        """Ask every node that has the file on trial for more time, unless that was just done."""
        if time.monotonic() - self._extended < self._timing.trial_s / EXTEND_SHARE:
            return
        self._extended = time.monotonic()
        for node in self._on_trial:
            try:
                self._agents.say(node, "extend", self._timing.trial_s)
            except OperatorError:
                continue  # It may be starting: the look at the nodes tells.

    def _require(self, reply: Reply) -> None:
        if why := refusal(reply):
            raise StepFailedError(why)

    @contextmanager
    def _step(self, node: str, action: str) -> Iterator[None]:
        done = Done(node, action, "ok", time.monotonic_ns(), 0)
        try:
            self._heed()
            yield
        except (StepFailedError, OperatorError) as error:
            done.result, done.detail = "failed", str(error)
            raise StepFailedError(f"{node}: {action}: {error}") from error
        finally:
            done.ended = time.monotonic_ns()
            self._outcome.steps.append(done)
            self._told(done)

    # --- back

    def _take_back(self) -> None:
        """The last one first. A node that fails to go back does not keep the others from it."""
        self._outcome.stuck += self._confirmed
        while self._on_trial:
            node, how = next(reversed(self._on_trial.items()))
            try:
                with self._step(node, "back"):
                    self._back(node, how)
            except StepFailedError:
                self._outcome.stuck.append(node)
            self._on_trial.pop(node, None)
        self._return_groups()

    def _back(self, node: str, how: str) -> None:
        old = self._old[node]
        silent = f"{node} does not answer; its trial leads it back"
        if self._runs(node, silent) == old:
            return  # It never took the file, or went back by itself.
        if how == "restart":
            self._free(node)
        reply = _last_word(lambda: self._agents.say(node, "back"))
        if not_ours(reply) and self._runs(node, silent) != self._digest:
            return  # Somebody else's file by now: theirs to confirm, or to take back.
        self._require(reply)
        del self._on_trial[node]  # More time is for the others.
        self._until(lambda: self._nodes.digest(node) == old, f"{node} still runs the new file")

    def _free(self, node: str) -> None:
        """Its groups go to whoever could take them: an agent that begins anew serves nobody meanwhile.

        A group that the old file does not know goes with the new one.
        """
        for group in [group for group in self._origin if self._nodes.serves(node, group)]:
            if self._handed.get(group):
                self._until(lambda name=group: self._nodes.relieved(node, name), f"nobody could take {group} over")  # type: ignore[misc]
                self._move(node, group)

    def _return_groups(self) -> None:
        """What was handed over on the way goes home, as far as it can."""
        for group, home in self._origin.items():
            try:
                now = holders_of(self._nodes.look(kernel=False).statuses.values()).get(group, [])
                if now and home not in now and self._nodes.group(home, group) is not None:
                    with self._step(now[0], f"switchover {group}"):
                        self._move(now[0], group, home)
            except StepFailedError:
                continue  # It is served, which is what counts.


def _last_word(order: Callable[[], Reply]) -> Reply:
    """The reply to an order after which an agent may end: nothing where that was lost. What it does then tells."""
    try:
        return order()
    except OperatorError as error:
        if error.code != NO_ANSWER:
            raise
        return {}


def _handed(sight: Sight) -> dict[str, bool]:
    """By group: whether it can be handed over at all. A plain VRRP router is handed nothing."""
    return {
        str(group["name"]): bool(group["peers"]) and not group.get("plain")
        for status in sight.statuses.values()
        for group in status["groups"]
    }
