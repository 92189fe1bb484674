"""A question and one answer between processes of a node: datagram sockets with abstract names (unix(7)).

Such a name belongs to a network namespace, so nothing but the name need be known, and nobody outside the node can send
there. It has no owner, though: whoever binds it first has it. So each end looks at what the kernel says of the other
(SCM_CREDENTIALS): only our own user is heard, and only our own user is believed.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator

READ_MAX = 64
"""Questions in one turn."""
_CREDENTIALS = struct.Struct("3i")


class LocalEnd:
    """The answering end of a name; belongs to the network namespace in which it is made. Without its name until `bind`
    got it: another process may hold it.
    """

    def __init__(self, name: bytes, question_max: int, answer_max: int) -> None:
        self._name, self._question_max = name, question_max
        self._bound = False
        self.socket = _socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * answer_max)

    def bind(self) -> str:
        """Take the name, unless it is ours already; why not, or nothing."""
        if not self._bound:
            try:
                self.socket.bind(b"\0" + self._name)
            except OSError as error:
                return f"{self._name.decode()}: {error.strerror}"
            self._bound = True
        return ""

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """What our own user asks, and the name to answer at."""
        for _ in range(READ_MAX):
            try:
                question, ours, asker = _receive(self.socket, self._question_max + 1)
            except OSError:
                return
            if ours and asker and len(question) <= self._question_max:
                yield question, asker

    def answer(self, asker: bytes, answer: bytes) -> None:
        """Whoever cannot take it now is left without."""
        with contextlib.suppress(OSError):
            self.socket.sendto(answer, asker)

    def close(self) -> None:
        self.socket.close()


def ask(name: bytes, question: bytes, answer_max: int, patience_s: float) -> bytes | None:
    """The answer of our own user; None if none came in time. Raises ConnectionRefusedError if nobody has the name."""
    deadline = time.monotonic() + patience_s
    with _socket() as end:
        end.settimeout(patience_s)
        try:
            end.bind("")  # a name of the kernel's choice, to be answered at
            end.sendto(question, b"\0" + name)
            while (left := deadline - time.monotonic()) > 0:
                end.settimeout(left)
                answer, ours, _ = _receive(end, answer_max)
                if ours:
                    return answer
        except ConnectionRefusedError:
            raise
        except OSError:
            return None
    return None


def _socket() -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return end


def _receive(end: socket.socket, size: int) -> tuple[bytes, bool, bytes]:
    """A datagram, whether our own user sent it, and the sender's name. Raises OSError."""
    data, ancillary, _, sender = end.recvmsg(size, socket.CMSG_SPACE(_CREDENTIALS.size))
    users = [
        _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[1]
        for level, kind, content in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    return data, users == [os.geteuid()], sender or b""
