"""The agents of a pair, as a change needs them: their sockets below one directory each, wherever that is.

Both sockets of a node may be forwarded ones (ssh -L): everything that a change asks of a node goes through them.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from understudy.agent import client

BUSY_PATIENCE_S = 5.0
"""For another request to the same node: each is short."""
BUSY = ("E5231",)
NO_ANSWER = "E5303"
"""Somebody took the request, and what became of it is not known."""
NOT_OURS = "E5237"
"""Nothing of this change is on trial there."""

Reply = Mapping[str, Any]


class Agents(Protocol):
    """Every call raises OperatorError if the agent does not answer, and returns `error` if it refuses."""

    def status(self, node: str) -> Reply: ...
    def inspect(self, node: str, *, flows: bool = True) -> Reply: ...
    def reload(self, node: str, trial_s: float) -> Reply: ...
    def restart(self, node: str, trial_s: float) -> Reply: ...
    def say(self, node: str, word: str, trial_s: float = 0.0) -> Reply: ...
    def switchover(self, node: str, group: str) -> Reply: ...


class SocketAgents:
    """The real ones. `paths`: by node its run directory; `text` is the file's, `name` its name for messages.

    Each is told which file it is believed to run: two changes at once must not confirm or undo each other's.
    """

    def __init__(
        self, paths: Mapping[str, Path], name: str, text: bytes, *, drain_s: float | None = None, remark: str = ""
    ) -> None:
        """`drain_s`: how long flows of removed translations go on. `remark`: what the journals shall say beside it."""
        self._taking = {"drain_s": drain_s, "remark": remark}
        self._paths = paths
        self._name = name
        self._text = text
        self._ran: dict[str, str] = {}
        """By node: the digest of what it ran when it was first inspected, and what ours is to it."""
        self._ours: dict[str, str] = {}

    def status(self, node: str) -> Reply:
        return client.ask(self._paths[node] / client.SOCKET, "status")

    def inspect(self, node: str, *, flows: bool = True) -> Reply:
        """`flows`: with those at stake, for which a node reads its whole table."""
        reply = self._order(node, "inspect", with_file=True, flows=flows)
        if "error" not in reply:
            self._ran.setdefault(node, reply["digest_old"])
            self._ours[node] = reply["digest_new"]
        return reply

    def reload(self, node: str, trial_s: float) -> Reply:
        return self._order(
            node, "reload", with_file=True, trial_s=trial_s, onto=self._ran.get(node, ""), **self._taking
        )

    def restart(self, node: str, trial_s: float) -> Reply:
        return self._order(
            node, "restart", with_file=True, trial_s=trial_s, onto=self._ran.get(node, ""), **self._taking
        )

    def say(self, node: str, word: str, trial_s: float = 0.0) -> Reply:
        return self._order(node, word, with_file=False, trial_s=trial_s, onto=self._ours.get(node, ""))

    def switchover(self, node: str, group: str) -> Reply:
        return client.ask(self._paths[node] / client.SOCKET, "switchover", group=group)

    def _order(self, node: str, command: str, *, with_file: bool, **fields: Any) -> Reply:
        name, text = (self._name, self._text) if with_file else ("", b"")
        deadline = time.monotonic() + BUSY_PATIENCE_S
        while True:
            reply = client.order(self._paths[node], command, name, text, **fields)
            code = reply["error"]["code"] if "error" in reply else ""
            if code not in BUSY or time.monotonic() > deadline:
                return reply
            time.sleep(0.05)


def refusal(reply: Reply) -> str:
    """Why an agent did not do it; empty if it did."""
    error = reply.get("error")
    if isinstance(error, Mapping):
        refused = "".join(f"; {each['change']}" for each in reply.get("refused", ()))
        return f"{error['code']} {error['message']}{refused}"
    return str(error or "")


def not_ours(reply: Reply) -> bool:
    """What the node runs is no file of this change."""
    error = reply.get("error")
    return isinstance(error, Mapping) and error["code"] == NOT_OURS
