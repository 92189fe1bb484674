"""What the supervisor itself says to the hands, over the line that it keeps for the core, while no core speaks."""

import contextlib
import select
import signal
import socket
import time

from understudy.agent import messages
from understudy.agent.children import Children

SETTLE_S = 0.1
"""Mostly there is nothing to do, which the hands say within a millisecond; the lease runs meanwhile."""


def ask(hands_end: socket.socket, message: messages.Message, timeout_s: float) -> str:
    """One command, while no core gives any; returns the error, empty if it was done."""
    if not messages.send(hands_end, message):
        return "the process for it takes no commands"
    deadline = time.monotonic() + timeout_s
    while True:
        ready, _, _ = select.select([hands_end], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return "the kernel did not answer in time"
        try:
            answer = messages.receive(hands_end)
        except EOFError:
            return "the process for it ended"
        if answer is not None and answer["op"] == message["op"]:  # others were for a core that is gone
            return str(answer.get("error", ""))


def settle(children: Children, hands_end: socket.socket) -> None:
    """Let stopped hands do what a core that is gone had ordered: a role that it gave up must not be adopted.

    Bounded: hands that do not answer are about to be ended anyway.
    """
    if not messages.send(hands_end, {"op": "rest", "token": "settled"}):
        return
    children.signal("hands", signal.SIGCONT)
    deadline = time.monotonic() + SETTLE_S
    with contextlib.suppress(EOFError):
        while select.select([hands_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            answer = messages.receive(hands_end)
            if answer is not None and answer.get("token") == "settled":
                return
