"""Records into this kernel, many in one send, and what to try when it refuses.

Nothing is acknowledged: the kernel answers refused requests only, and has answered when the send returns. So a batch
costs one send and one empty receive. What was refused goes through a table: a flow that exists is looked at and
updated, or replaced if it is another; one that is missing is created; and so on, each try with the rest of its batch.
Within a batch a flow occurs once, so that a second try never overtakes later news.

What the peer says is not believed further than its flows go: a record without a group that is shared with it is
refused, and what this writer does not know as a copy of its own is looked at before it is changed or ended, and left
alone if it is of no such group. The node's own connections have none: nobody's news may end them.

The writer remembers which flows it has written (8 bytes of hash each, some 80 in Python) to try first what will
probably succeed. The memory may be wrong: then the kernel refuses, and the table knows what to do.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from understudy.adapters.conntrack_events import (
    IPCTNL_MSG_DELETE,
    IPCTNL_MSG_GET,
    IPCTNL_MSG_NEW,
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_CTNETLINK_EXP,
)
from understudy.adapters.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ERROR
from understudy.adapters.watch import NETLINK_NETFILTER, SO_RCVBUFFORCE, SOL_NETLINK
from understudy.core.replication.events import Kind, Record
from understudy.errors import DecodeError
from understudy.wire.conntrack import (
    create_request,
    delete_request,
    expect_create_request,
    expect_delete_request,
    expectation,
    identity,
    mark_of,
    master_request,
    original,
    update_request,
)
from understudy.wire.conntrack.requests import reply_request
from understudy.wire.marks import GROUP_MASK, GROUP_MAX, GROUP_SHIFT

NETLINK_CAP_ACK: Final = 10
BATCH: Final = 128
"""Requests in one send: if all are refused, the answers must fit a receive buffer that nobody may enlarge."""
TRIES_MAX: Final = 8
"""Longer than any way through the table."""
KNOWN_MAX: Final = 1 << 20
_BUFFER: Final = 1 << 20
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


class Try(Enum):
    """What to do with a record."""

    CREATE = auto()
    ADOPT = auto()
    """Create again: the master may have come with the same batch."""
    ORPHAN = auto()
    """Create without master."""
    UPDATE = auto()
    REPLACE = auto()
    """Delete what has its original tuple, then create."""
    LOOK = auto()
    """Ask for what has its original tuple."""
    LOOK_REPLY = auto()
    """Ask for what has its reply tuple."""
    CLEAR = auto()
    """Delete what has its reply tuple, then create."""
    LOOK_BEFORE_DELETE = auto()
    DELETE = auto()
    LOOK_MASTER = auto()
    """Ask for the flow in which it was announced."""
    LOOK_MASTER_AGAIN = auto()
    """It may have come with the same batch."""
    EXPECT = auto()
    EXPECT_AGAIN = auto()
    """The master may have come with the same batch."""
    LOOK_EXPECTED = auto()
    """Ask for what has its tuple."""
    LOOK_ITS_MASTER = auto()
    """And for the flow in which that was announced."""
    UNEXPECT = auto()
    DONE = auto()
    REFUSED = auto()


_CREATE, _UPDATE, _DELETE, _LOOK_BEFORE_DELETE = Try.CREATE, Try.UPDATE, Try.DELETE, Try.LOOK_BEFORE_DELETE
"""At hand for the ordinary way of a record: looking up a member of an enumeration costs as much as a comparison."""
_FIRST: Final = {Kind.EXPECTED: Try.LOOK_MASTER, Kind.UNEXPECTED: Try.LOOK_EXPECTED}
_ALLOWED: Final = {
    Try.LOOK_BEFORE_DELETE: Try.DELETE,
    Try.LOOK_REPLY: Try.CLEAR,
    Try.LOOK_MASTER: Try.EXPECT,
    Try.LOOK_MASTER_AGAIN: Try.EXPECT,
    Try.LOOK_ITS_MASTER: Try.UNEXPECT,
}
"""What follows a look at a flow that is of a shared group."""
_LOOKS: Final = frozenset((Try.LOOK, Try.LOOK_EXPECTED, *_ALLOWED))
NOT_SHARED: Final = "of no shared group"
_AFTER: Final[dict[tuple[Try, int], Try]] = {
    (Try.CREATE, errno.EEXIST): Try.LOOK,
    (Try.CREATE, errno.ENOENT): Try.ADOPT,
    (Try.CREATE, errno.EAGAIN): Try.CREATE,
    (Try.ADOPT, errno.EEXIST): Try.LOOK,
    (Try.ADOPT, errno.ENOENT): Try.ORPHAN,
    (Try.ORPHAN, errno.EEXIST): Try.LOOK,
    (Try.UPDATE, errno.ENOENT): Try.CREATE,
    (Try.UPDATE, errno.EAGAIN): Try.UPDATE,
    # A flag would have to be taken back: it is another flow with the same tuples.
    (Try.UPDATE, errno.EBUSY): Try.REPLACE,
    (Try.UPDATE, errno.EOPNOTSUPP): Try.REPLACE,
    (Try.UPDATE, errno.EPERM): Try.REPLACE,  # a copy whose timeout is fixed
    (Try.REPLACE, errno.EEXIST): Try.LOOK_REPLY,
    (Try.REPLACE, errno.ENOENT): Try.ORPHAN,
    (Try.LOOK, errno.ENOENT): Try.LOOK_REPLY,
    (Try.LOOK_REPLY, errno.ENOENT): Try.CREATE,
    (Try.CLEAR, errno.ENOENT): Try.ORPHAN,
    (Try.LOOK_BEFORE_DELETE, errno.ENOENT): Try.DONE,
    (Try.DELETE, errno.ENOENT): Try.DONE,
    (Try.LOOK_MASTER, errno.ENOENT): Try.LOOK_MASTER_AGAIN,
    (Try.EXPECT, errno.ENOENT): Try.EXPECT_AGAIN,
    (Try.EXPECT, errno.EEXIST): Try.DONE,
    (Try.EXPECT_AGAIN, errno.EEXIST): Try.DONE,
    (Try.LOOK_EXPECTED, errno.ENOENT): Try.DONE,
    (Try.UNEXPECT, errno.ENOENT): Try.DONE,
}
"""What is not here is refused."""
_ENDS: Final = (Try.LOOK_BEFORE_DELETE, Try.DELETE, Try.LOOK_EXPECTED, Try.UNEXPECT)


@dataclass(slots=True)
class _Step:
    raw: bytes
    what: Try
    who: int = 0
    """Hash of its identity; 0 for an expectation."""
    tries: int = 0
    master: bytes = b""
    """How to ask for the master of the expectation that the kernel has."""


class FlowWriter:
    """A socket that writes flows and expectations of the namespace in which it was made: of these groups only."""

    def __init__(
        self,
        hold_s: int,
        half_open_s: int,
        buffer_bytes: int = _BUFFER,
        groups: Collection[int] = range(1, GROUP_MAX + 1),
    ) -> None:
        self._shared: Final = frozenset(group << GROUP_SHIFT for group in groups if group)
        self._hold_s = hold_s
        self._half_open_s = half_open_s
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))
        self.portid: int = self._socket.getsockname()[0]
        self._sequence = 0
        self._known: set[int] = set()
        self.refusals: dict[str, int] = {}
        """How many records the kernel would not take, by what was tried last and the kernel's word."""

    def write(self, records: Sequence[Record]) -> int:
        """Into the kernel, in order. Returns how many it would not take, those that nobody can read included."""
        refused = 0
        batch: list[_Step] = []
        taken: set[bytes] = set()
        known, shared = self._known, self._shared
        for kind, raw in records:
            try:
                if kind <= Kind.GONE:
                    key = original(raw)
                    if mark_of(raw) & GROUP_MASK not in shared:
                        refused += self._refuse(NOT_SHARED)
                        continue
                    who = hash(identity(raw))
                    if who in known:
                        first = _DELETE if kind is Kind.GONE else _UPDATE
                    else:
                        first = _LOOK_BEFORE_DELETE if kind is Kind.GONE else _CREATE
                    step = _Step(raw, first, who)
                else:
                    key = expectation(raw)
                    step = _Step(raw, _FIRST[kind])
            except DecodeError as error:
                refused += self._refuse(error.reason)
                continue
            if key in taken or len(batch) >= BATCH:
                refused += self._carry_out(batch)
                batch, taken = [], set()
            batch.append(step)
            taken.add(key)
        return refused + self._carry_out(batch)

    def send(self, requests: Iterable[Request]) -> int:
        """Requests as they are, at most BATCH. Returns how many were refused."""
        errors, _ = self._exchange([[each] for each in requests])
        return len(errors)

    def ask(self, request: Request) -> bytes | None:
        """What the kernel answers to one question; None if it refuses."""
        _, answers = self._exchange([[request]])
        return answers.get(0)

    def close(self) -> None:
        self._socket.close()

    def _carry_out(self, batch: list[_Step]) -> int:
        refused = 0
        while batch:
            errors, answers = self._exchange([self._requests(step) for step in batch])
            if not errors and not answers and not batch[0].tries:  # as nearly always
                self._known.update([step.who for step in batch if step.what not in _ENDS])
                self._known.difference_update([step.who for step in batch if step.what in _ENDS])
                break
            again = []
            for at, step in enumerate(batch):
                step.tries += 1
                number = errors.get(at, 0)
                last = step.what
                step.what = self._next(step, number, answers.get(at))
                if step.what is Try.DONE:
                    if last in _ENDS:
                        self._known.discard(step.who)
                    else:
                        self._known.add(step.who)
                elif step.what is Try.REFUSED or step.tries >= TRIES_MAX:
                    self._known.discard(step.who)
                    why = f"{last.name.lower()} {errno.errorcode.get(number, number)}" if number else NOT_SHARED
                    refused += self._refuse(why)
                else:
                    again.append(step)
            batch = again
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        return refused

    def _next(self, step: _Step, number: int, answer: bytes | None) -> Try:
        if number:
            return _AFTER.get((step.what, number), Try.REFUSED)
        what = step.what
        if what not in _LOOKS:
            return Try.DONE
        try:
            if what is Try.LOOK_EXPECTED:
                step.master = master_request(answer or b"")
                return Try.LOOK_ITS_MASTER
            if mark_of(answer or b"") & GROUP_MASK not in self._shared:
                return Try.REFUSED
            if what is Try.LOOK:
                return Try.UPDATE if identity(answer or b"") == identity(step.raw) else Try.REPLACE
        except DecodeError:
            return Try.REFUSED  # what we cannot read is not ours
        return _ALLOWED[what]

    def _requests(self, step: _Step) -> list[Request]:
        """The last of them is the one whose answer counts."""
        raw, what = step.raw, step.what
        if what is _CREATE:
            return [self._creation(raw)]
        if what is _UPDATE:
            return [(CT_NEW, 0, update_request(raw, self._hold_s, self._half_open_s))]
        if what is _DELETE:
            return [(CT_DELETE, 0, delete_request(raw))]
        match what:
            case Try.ADOPT:
                return [self._creation(raw)]
            case Try.ORPHAN:
                return [self._creation(raw, orphan=True)]
            case Try.REPLACE:
                return [(CT_DELETE, 0, delete_request(raw)), self._creation(raw)]
            case Try.CLEAR:
                return [(CT_DELETE, 0, reply_request(raw)), self._creation(raw)]
            case Try.LOOK | Try.LOOK_BEFORE_DELETE:
                return [(CT_GET, 0, delete_request(raw))]
            case Try.LOOK_REPLY:
                return [(CT_GET, 0, reply_request(raw))]
            case Try.EXPECT | Try.EXPECT_AGAIN:
                return [(EXP_NEW, NLM_F_CREATE | NLM_F_EXCL, expect_create_request(raw))]
            case Try.LOOK_MASTER | Try.LOOK_MASTER_AGAIN:
                return [(CT_GET, 0, master_request(raw))]
            case Try.LOOK_EXPECTED:
                return [(EXP_GET, 0, expect_delete_request(raw))]
            case Try.LOOK_ITS_MASTER:
                return [(CT_GET, 0, step.master)]
            case Try.UNEXPECT:
                return [(EXP_DELETE, 0, expect_delete_request(raw))]
            case _:
                raise AssertionError(step.what)

    def _creation(self, raw: bytes, *, orphan: bool = False) -> Request:
        payload = create_request(raw, self._hold_s, self._half_open_s, orphan=orphan)
        return (CT_NEW, NLM_F_CREATE | NLM_F_EXCL, payload)

    def _exchange(self, asked: Sequence[Sequence[Request]]) -> tuple[dict[int, int], dict[int, bytes]]:
        """Send all in one; return the last request's error or answer, by position."""
        parts: list[bytes] = []
        positions: dict[int, int] = {}
        sequence = self._sequence
        pack = _HEADER.pack
        for position, requests in enumerate(asked):
            for kind, flags, payload in requests:
                sequence = sequence + 1 & 0xFFFF_FFFF
                parts.append(pack(16 + len(payload), kind, NLM_F_REQUEST | flags, sequence, 0))
                parts.append(payload)
            positions[sequence] = position
        self._sequence = sequence
        if not parts:
            return {}, {}
        self._socket.send(b"".join(parts))
        try:
            return self._answers(positions)
        except OSError as error:
            if error.errno != errno.ENOBUFS or len(asked) == 1:
                raise
        # More answers than the socket holds: all requests once more, one at a time. Each may be repeated.
        errors: dict[int, int] = {}
        answers: dict[int, bytes] = {}
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(_MESSAGE_MAX)
        for position, requests in enumerate(asked):
            one_errors, one_answers = self._exchange([requests])
            if one_errors:
                errors[position] = one_errors[0]
            if one_answers:
                answers[position] = one_answers[0]
        return errors, answers

    def _answers(self, positions: dict[int, int]) -> tuple[dict[int, int], dict[int, bytes]]:
        errors: dict[int, int] = {}
        answers: dict[int, bytes] = {}
        receive: Callable[[int], bytes] = self._socket.recv
        while True:
            try:
                data = receive(_MESSAGE_MAX)
            except BlockingIOError:
                return errors, answers
            size, kind, _, sequence, _ = _HEADER.unpack_from(data)
            position = positions.get(sequence)
            if position is None:
                continue
            if kind == NLMSG_ERROR:
                number = -_ERROR.unpack_from(data, _HEADER.size)[0]
                if number:
                    errors[position] = number
            else:
                answers[position] = data[_HEADER.size : size]

    def _refuse(self, reason: str) -> int:
        if reason in self.refusals or len(self.refusals) < 64:
            self.refusals[reason] = self.refusals.get(reason, 0) + 1
        return 1
