"""A child of a process that must not wait, for what takes long or wants no privileges: one at a time, and a line to it.

It ends with its parent. Fork from a process with one thread: the kernel ends a child with the thread that forked it.
"""

import socket
from collections.abc import Callable
from functools import partial

from understudy.agent.children import Children
from understudy.agent.messages import Message, pair, receive


class Beside:
    def __init__(self, children: Children, role: str) -> None:
        self._children, self._role = children, role
        self._end: socket.socket | None = None

    @property
    def busy(self) -> bool:
        """There is one."""
        return self._end is not None

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Readable when it said something, or ended."""
        return (self._end,) if self._end is not None else ()

    def begin(self, work: Callable[[socket.socket], None]) -> None:
        """The child does `work`, with its end of the line. Raises OSError if there is no room for a process."""
        self.end()
        ours, theirs = pair()
        try:
            self._children.spawn(self._role, partial(work, theirs), theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._end = ours

    def hear(self) -> Message | None:
        """What it says next; None if there is nothing for now. Raises EOFError, once, if it ended or talks nonsense."""
        if self._end is None:
            return None
        try:
            return receive(self._end)
        except (EOFError, ValueError, RecursionError) as error:
            self.end()
            raise EOFError from error

    def end(self) -> None:
        """At once. Harmless if there is none."""
        if self._end is not None:
            self._end.close()
            self._end = None
            self._children.kill(self._role)
