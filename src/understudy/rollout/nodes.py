"""What the nodes of a change say of themselves: every question may go unanswered, which is an answer here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from understudy.errors import OperatorError
from understudy.rollout.agents import Agents, Reply
from understudy.rollout.judge import Sight

Answers = Callable[[], Mapping[str, bool]]


class Nodes:
    """`names` are the nodes whose agents answer here; `answers` are those of the services, by address."""

    def __init__(self, agents: Agents, names: Sequence[str], answers: Answers) -> None:
        self.names = names
        self._agents = agents
        self._answers = answers

    def look(self, *, kernel: bool = True) -> Sight:
        """All nodes that answer now; with `kernel` also what each one's kernel lacks."""
        statuses, missing = {}, {}
        for node in self.names:
            try:
                statuses[node] = self._agents.status(node)
                if kernel:
                    missing[node] = tuple(self._agents.inspect(node, flows=False).get("missing", ()))
            except OperatorError:
                statuses.pop(node, None)
        return Sight(statuses, missing, self._answers())

    def epoch(self, node: str) -> int:
        """0 if it does not answer."""
        status = self._status(node)
        return 0 if status is None else int(status["epoch"])

    def digest(self, node: str) -> str:
        """Of the file that it runs; empty if it does not answer."""
        status = self._status(node)
        return "" if status is None else str(status["digest"])

    def group(self, node: str, group: str) -> Mapping[str, Any] | None:
        """What it says of a group; None if it does not answer, or does not know it."""
        status = self._status(node)
        groups = () if status is None else status["groups"]
        return next((each for each in groups if each["name"] == group), None)

    def serves(self, node: str, group: str) -> bool:
        state = self.group(node, group)
        return state is not None and state["role"] == "active"

    def relieved(self, node: str, group: str) -> bool:
        """Whether another node could take the group over from this one."""
        state = self.group(node, group)
        return state is not None and any(peer["heard"] and peer["eligible"] for peer in state["peers"])

    def _status(self, node: str) -> Reply | None:
        if node not in self.names:
            return None
        try:
            return self._agents.status(node)
        except OperatorError:
            return None
