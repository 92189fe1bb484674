"""Requests about flows, many in one send, and this kernel's answers to them.

Nothing is acknowledged: the kernel answers questions and refused requests only, and has answered when the send returns.
So a batch that succeeds costs one send and one empty receive.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

from understudy.adapters.conntrack_events import (
    IPCTNL_MSG_DELETE,
    IPCTNL_MSG_GET,
    IPCTNL_MSG_NEW,
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_CTNETLINK_EXP,
)
from understudy.adapters.netlink import NLM_F_REQUEST, NLMSG_ERROR
from understudy.adapters.watch import NETLINK_NETFILTER, SO_RCVBUFFORCE, SOL_NETLINK

NETLINK_CAP_ACK: Final = 10
BATCH: Final = 128
"""Requests in one send: if all are refused, the answers must fit a receive buffer that nobody may enlarge."""
BUFFER: Final = 1 << 20
_MESSAGE_MAX: Final = 4096
_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")

CT_NEW = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_NEW
CT_GET = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_GET
CT_DELETE = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_DELETE
EXP_NEW = NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_NEW
EXP_GET = NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_GET
EXP_DELETE = NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_DELETE

Request = tuple[int, int, bytes]
"""Type, flags, payload."""


class RequestSocket:
    """Belongs to the namespace in which it was made."""

    def __init__(self, buffer_bytes: int = BUFFER) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))
        self.portid: int = self._socket.getsockname()[0]
        self._sequence = 0

    def exchange(self, requests: Sequence[Request]) -> tuple[dict[int, int], dict[int, bytes]]:
        """Send all, in order; the errors and the answers, by position."""
        if not requests:
            return {}, {}
        first = sequence = self._sequence
        parts: list[bytes] = []
        pack, append = _HEADER.pack, parts.append
        for kind, flags, payload in requests:
            append(pack(16 + len(payload), kind, NLM_F_REQUEST | flags, sequence & 0xFFFF_FFFF, 0))
            append(payload)
            sequence += 1
        self._sequence = sequence & 0xFFFF_FFFF
        self._socket.send(b"".join(parts))
        try:
            return self._answers(first, len(requests))
        except OSError as error:
            if error.errno != errno.ENOBUFS or len(requests) == 1:
                raise
        # More answers than the socket holds: all requests once more, one at a time. Each may be repeated.
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(_MESSAGE_MAX)
        errors: dict[int, int] = {}
        answers: dict[int, bytes] = {}
        for position, request in enumerate(requests):
            one_errors, one_answers = self.exchange([request])
            if one_errors:
                errors[position] = one_errors[0]
            if one_answers:
                answers[position] = one_answers[0]
        return errors, answers

    def close(self) -> None:
        self._socket.close()

    def _answers(self, first: int, count: int) -> tuple[dict[int, int], dict[int, bytes]]:
        errors: dict[int, int] = {}
        answers: dict[int, bytes] = {}
        while True:
            try:
                data = self._socket.recv(_MESSAGE_MAX)
            except BlockingIOError:
                return errors, answers
            size, kind, _, sequence, _ = _HEADER.unpack_from(data)
            position = sequence - first & 0xFFFF_FFFF
            if position >= count:
                continue  # of an earlier batch
            if kind == NLMSG_ERROR:
                number = -_ERROR.unpack_from(data, _HEADER.size)[0]
                if number:
                    errors[position] = number
            else:
                answers[position] = data[_HEADER.size : size]
