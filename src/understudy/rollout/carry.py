"""Carries a planned change out, step by step, and takes it back if one fails.

Every node takes the file on trial (agent.trial): if this process disappears, each node goes back by itself when its
time is over. While it lives it asks for more time between its looks at the nodes, and confirms at the very end. A step
is done once all nodes are as expected (`judge`), for which it waits; what is not so in time is a failed step. Then the
nodes that took the file go back, the last one first, and each is looked at again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from understudy.errors import OperatorError
from understudy.rollout.agents import Agents, not_ours, refusal
from understudy.rollout.judge import Expected, Sight, holders_of, problems
from understudy.rollout.plan import Step
from understudy.units import MILLISECOND

POLL_S = 0.05
EXTEND_SHARE = 3
"""More time is asked for after this part of it has passed."""
Answers = Callable[[], Mapping[str, bool]]


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
        self._nodes = nodes
        self._digest = digest
        self._timing = timing
        self._movable = free
        self._answers = answers
        self._told = told
        self._stop = stop
        self._forward = True
        self._outcome = Outcome()
        self._on_trial: dict[str, str] = {}
        """The nodes that took the file, in order, and how."""
        self._confirmed: list[str] = []
        self._extended = time.monotonic()
        self._before = self.look()
        self._digests = {node: str(status["digest"]) for node, status in self._before.statuses.items()}
        self._old = dict(self._digests)
        self._holders = {group: held[0] for group, held in holders_of(self._before.statuses.values()).items() if held}
        self._origin = dict(self._holders)
        self._handed = _handed(self._before)

    def run(self, steps: Sequence[Step]) -> Outcome:
        """Every outcome is in the answer."""
        try:
            for step in steps:
                with self._step(step.node, step.action if not step.to else f"switchover {step.group}"):
                    self._do(step)
        except StepFailedError as failure:
            self._outcome.error, self._forward = str(failure), False
            self._take_back()
        return self._outcome

    def look(self, *, kernel: bool = True) -> Sight:
        """All nodes that answer now; with `kernel` also what each one's kernel lacks."""
        statuses, missing = {}, {}
        for node in self._nodes:
            try:
                statuses[node] = self._agents.status(node)
                if kernel:
                    missing[node] = tuple(self._agents.inspect(node, flows=False).get("missing", ()))
            except OperatorError:
                statuses.pop(node, None)
        return Sight(statuses, missing, self._answers())

    # --- forward

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
        self._settle(self._timing.observe_s)

    def _restart(self, node: str, ask: Callable[[], Mapping[str, object]]) -> None:
        """Returns once another life of the agent answers."""
        epoch = int(self._agents.status(node)["epoch"])
        self._require(ask())
        self._until(lambda: self._epoch(node) > epoch, f"the agent of {node} does not come back")
        if self._digest_of(node) != self._digest:
            raise StepFailedError(
                f"{node} could not begin with the file and runs its old one: see agent.log or its unit"
            )

    def _epoch(self, node: str) -> int:
        try:
            return int(self._agents.status(node)["epoch"])
        except OperatorError:
            return 0

    def _hand_over(self, node: str, group: str, to: str) -> None:
        if self._serves(node, group):  # It may have moved by itself.
            self._settle(sync=True)
            self._require(self._agents.switchover(node, group))
        self._holders[group] = to
        self._settle()

    def _settle(self, observe_s: float = 0.0, *, sync: bool | None = None) -> None:
        """Wait until all nodes are as expected, and see that they stay so. Raises StepFailedError, with what is not."""
        holders = {group: holder for group, holder in self._holders.items() if group not in self._movable}
        expected = Expected(self._digests, holders, sync)
        found: list[str] = []

        def well() -> bool:
            found[:] = problems(self._before, self.look(kernel=False), expected)
            if not found:  # Looked at last, since it is dear.
                found[:] = problems(self._before, self.look(), expected)
            return not found

        until = time.monotonic() + observe_s
        self._until(well, lambda: "; ".join(found[:3]))
        if observe_s:
            while time.monotonic() < until:
                self._extend()
                time.sleep(POLL_S)
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

    def _require(self, reply: Mapping[str, object]) -> None:
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
        self._until(lambda: self._digest_of(node) != "", f"{node} does not answer; its trial leads it back")
        if self._digest_of(node) == old:
            return  # It never took the file, or went back by itself.
        if how == "restart":
            self._free(node)
        reply = self._agents.say(node, "back")
        if not_ours(reply) and self._digest_of(node) != self._digest:
            return  # Somebody else's file by now: theirs to confirm, or to take back.
        self._require(reply)
        del self._on_trial[node]  # More time is for the others.
        self._until(lambda: self._digest_of(node) == old, f"{node} still runs the new file")

    def _free(self, node: str) -> None:
        """Its groups go to whoever could take them: an agent that begins anew serves nobody meanwhile.

        A group that the old file does not know goes with the new one.
        """
        for group in [group for group in self._origin if self._serves(node, group)]:
            if self._handed.get(group):
                self._until(lambda name=group: self._relieved(node, name), f"nobody could take {group} over")  # type: ignore[misc]
                self._require(self._agents.switchover(node, group))
                self._until(lambda name=group: not self._serves(node, name), f"nobody takes {group} over")  # type: ignore[misc]

    def _relieved(self, node: str, group: str) -> bool:
        """Whether another node could take the group over from this one."""
        status = self._agents.status(node)
        peers = [peer for each in status["groups"] if each["name"] == group for peer in each["peers"]]
        return any(peer["heard"] and peer["eligible"] for peer in peers)

    def _return_groups(self) -> None:
        """What was handed over on the way goes home, as far as it can."""
        for group, home in self._origin.items():
            try:
                now = holders_of(self.look(kernel=False).statuses.values()).get(group, [])
                if now and home not in now and home in self._nodes:
                    with self._step(now[0], f"switchover {group}"):
                        self._require(self._agents.switchover(now[0], group))
                        self._until(lambda name=group, to=home: self._serves(to, name), f"{home} does not take over")  # type: ignore[misc]
            except StepFailedError:
                continue  # It is served, which is what counts.

    def _digest_of(self, node: str) -> str:
        try:
            return str(self._agents.status(node)["digest"])
        except OperatorError:
            return ""

    def _serves(self, node: str, group: str) -> bool:
        try:
            groups = self._agents.status(node)["groups"]
        except OperatorError:
            return False
        return any(each["name"] == group and each["role"] == "active" for each in groups)


def _handed(sight: Sight) -> dict[str, bool]:
    """By group: whether it can be handed over at all. A plain VRRP router is handed nothing."""
    return {
        str(group["name"]): bool(group["peers"]) and not group.get("plain")
        for status in sight.statuses.values()
        for group in status["groups"]
    }
