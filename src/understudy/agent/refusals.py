"""How the process that loads a file says that it was not taken, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from understudy.agent.reload import REFUSED, Change
from understudy.agent.running import Running
from understudy.config.problems import Problems
from understudy.errors import OperatorError

Reply = dict[str, Any]


class RefusedError(OperatorError):
    """Changes that a running node cannot take."""

    def __init__(self, changes: Sequence[Change]) -> None:
        what = "1 change needs" if len(changes) == 1 else f"{len(changes)} changes need"
        hint = "restart the standby's agent with the new file, understudy switchover, then the other agent"
        super().__init__(REFUSED, f"{what} a restart", hint)
        self.changes = changes

    def __str__(self) -> str:
        head, _, hint = super().__str__().partition("\n")
        return "\n".join((head, *(f"  {change}" for change in self.changes), hint))


def refusal(running: Running, error: OperatorError) -> Reply:
    """Nothing has changed, because of `error`."""
    reply: Reply = {
        "ok": False,
        "node": running.options.node,
        "error": {"code": error.code, "message": error.message, "hint": error.hint, "text": str(error)},
    }
    if isinstance(error, Problems):
        reply["problems"] = [
            {name: value for name, value in asdict(problem).items() if name != "width"} for problem in error.problems
        ]
    if isinstance(error, RefusedError):
        reply["refused"] = [{"change": each.words, "because": each.verdict.because} for each in error.changes]
    return reply


def headline(reply: Reply) -> str:
    problems = reply.get("problems", ())
    first = "".join(f"; line {each['line']}: {each['code']} {each['message']}" for each in problems[:3])
    first += "".join(f"; {each['change']}: {each['because']}" for each in reply.get("refused", ())[:3])
    return f"{reply['error']['message']}{first}"
