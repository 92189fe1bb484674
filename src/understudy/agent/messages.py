"""Messages between the processes of one node: JSON over sequenced packets.

JSON and not pickle, because the checks run without privileges and must not be able to run code in the core.
"""

import fcntl
import json
import socket
import termios
from typing import Any

MESSAGE_MAX = 1 << 18
Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep message boundaries; a full one refuses instead of blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_MAX * 4)
    return ends


def send(end: socket.socket, message: Message) -> bool:
    """False if the other end is gone or does not keep up."""
    try:
        end.send(json.dumps(message, separators=(",", ":"), default=str).encode())
    except OSError:
        return False
    return True


def is_gone(end: socket.socket) -> bool:
    """Whether the other end was closed and nothing is left to read here."""
    try:
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def unread(end: socket.socket) -> bool:
    """Whether anything that was sent here still waits for the other end to take it (SIOCOUTQ, unix(7))."""
    waiting = fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4))
    return any(waiting)


def receive(end: socket.socket) -> Message | None:
    """The next message; None if there is none now. Raises EOFError when the other end is gone."""
    try:
        data = end.recv(MESSAGE_MAX)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    message = json.loads(data)
    return message if isinstance(message, dict) else None
