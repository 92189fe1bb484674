"""Records into this kernel, in batches, and what becomes of those that it refuses.

What was refused goes through a table (conntrack_tries): a flow that exists is looked at and updated, or replaced if it
is another; one that is missing is created; and so on, each try with the rest of its batch. Within a batch a flow occurs
once, so that a second try never overtakes later news.

What the peer says is not believed further than its flows go: a record without a group that is shared with it is
refused, and what this writer does not know as a copy of its own is looked at before it is changed or ended, and left
alone if it is of no such group. The node's own connections have none: nobody's news may end them.

The writer remembers which flows it has written (8 bytes of hash each, some 80 in Python) to try first what will
probably succeed. The memory may be wrong: then the kernel refuses, and the table knows what to do.
"""

import errno
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from understudy.adapters.conntrack_socket import (
    BATCH,
    BUFFER,
    CT_DELETE,
    CT_GET,
    CT_NEW,
    EXP_DELETE,
    EXP_GET,
    EXP_NEW,
    Request,
    RequestSocket,
)
from understudy.adapters.conntrack_tries import AFTER, ALLOWED, ENDS, FIRST, LOOKS, NOT_SHARED, Try
from understudy.adapters.netlink import NLM_F_CREATE, NLM_F_EXCL
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
    update_request,
    whose,
)
from understudy.wire.conntrack.requests import reply_request
from understudy.wire.marks import GROUP_MASK, GROUP_MAX, GROUP_SHIFT

TRIES_MAX: Final = 8
"""Longer than any way through the table."""
KNOWN_MAX: Final = 1 << 20
_CREATION: Final = NLM_F_CREATE | NLM_F_EXCL
_CREATE, _UPDATE, _DELETE, _LOOK_BEFORE_DELETE = Try.CREATE, Try.UPDATE, Try.DELETE, Try.LOOK_BEFORE_DELETE
"""At hand for the ordinary way of a record: looking up a member of an enumeration costs as much as a comparison."""

_First = tuple[bytes, Try, int]
"""A record of a batch: its raw message, what to try first, and the hash of its identity; 0 for an expectation."""


@dataclass(slots=True)
class _Step:
    """A record that was refused, or that the kernel was asked about."""

    raw: bytes
    what: Try
    who: int
    tries: int = 0
    master: bytes = b""
    """How to ask for the master of the expectation that the kernel has."""


class FlowWriter:
    """A socket that writes flows and expectations of the namespace in which it was made: of these groups only."""

    def __init__(
        self,
        hold_s: int,
        half_open_s: int,
        buffer_bytes: int = BUFFER,
        groups: Collection[int] = range(1, GROUP_MAX + 1),
    ) -> None:
        self._shared: Final = frozenset(group << GROUP_SHIFT for group in groups if group)
        self._hold_s = hold_s
        self._half_open_s = half_open_s
        self._socket = RequestSocket(buffer_bytes)
        self.portid = self._socket.portid
        self._known: set[int] = set()
        self.refusals: dict[str, int] = {}
        """How many records the kernel would not take, by what was tried last and the kernel's word."""

    def write(self, records: Sequence[Record]) -> int:
        """Into the kernel, in order. Returns how many it would not take, those that nobody can read included."""
        refused = 0
        batch: list[_First] = []
        requests: list[Request] = []
        taken: set[bytes] = set()
        known, shared, hold_s, half_open_s = self._known, self._shared, self._hold_s, self._half_open_s
        for kind, raw in records:
            try:
                if kind <= Kind.GONE:
                    key, who, mark = whose(raw)
                    if mark & GROUP_MASK not in shared:
                        refused += self._refuse(NOT_SHARED)
                        continue
                else:
                    key, who = expectation(raw), 0
                if key in taken or len(batch) >= BATCH:
                    refused += self._carry_out(batch, requests)
                    batch, requests, taken = [], [], set()
                if kind is Kind.CHANGED:
                    if who in known:
                        what, request = _UPDATE, (CT_NEW, 0, update_request(raw, hold_s, half_open_s))
                    else:
                        what, request = _CREATE, (CT_NEW, _CREATION, create_request(raw, hold_s, half_open_s))
                elif kind is Kind.GONE:
                    what, how = (_DELETE, CT_DELETE) if who in known else (_LOOK_BEFORE_DELETE, CT_GET)
                    request = (how, 0, delete_request(raw))
                else:
                    what = FIRST[kind]
                    (request,) = self._requests(_Step(raw, what, who))
            except DecodeError as error:
                refused += self._refuse(error.reason)
                continue
            batch.append((raw, what, who))
            requests.append(request)
            taken.add(key)
        refused += self._carry_out(batch, requests)
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        return refused

    def send(self, requests: Iterable[Request]) -> int:
        """Requests as they are, at most BATCH. Returns how many were refused."""
        errors, _ = self._socket.exchange(list(requests))
        return len(errors)

    def ask(self, request: Request) -> bytes | None:
        """What the kernel answers to one question; None if it refuses."""
        _, answers = self._socket.exchange([request])
        return answers.get(0)

    def close(self) -> None:
        self._socket.close()

    def _carry_out(self, batch: Sequence[_First], requests: Sequence[Request]) -> int:
        errors, answers = self._socket.exchange(requests)
        if errors or answers:
            return self._try_on([_Step(*each) for each in batch], errors, answers)
        # As nearly always.
        self._known.update([who for _, what, who in batch if what not in ENDS])
        self._known.difference_update([who for _, what, who in batch if what in ENDS])
        return 0

    def _try_on(self, steps: list[_Step], errors: dict[int, int], answers: dict[int, bytes]) -> int:
        """Until each has gone its way through the table. `errors` and `answers` of the first try, by position."""
        refused = 0
        lasts: Sequence[int] = range(len(steps))
        while steps:
            again = []
            for step, at in zip(steps, lasts, strict=True):
                step.tries += 1
                number = errors.get(at, 0)
                last = step.what
                step.what = self._next(step, number, answers.get(at))
                if step.what is Try.DONE:
                    if last in ENDS:
                        self._known.discard(step.who)
                    else:
                        self._known.add(step.who)
                elif step.what is Try.REFUSED or step.tries >= TRIES_MAX:
                    self._known.discard(step.who)
                    why = f"{last.name.lower()} {errno.errorcode.get(number, number)}" if number else NOT_SHARED
                    refused += self._refuse(why)
                else:
                    again.append(step)
            steps, requests, lasts = again, [], []
            for step in steps:
                requests += self._requests(step)
                lasts.append(len(requests) - 1)
            errors, answers = self._socket.exchange(requests)
        return refused

    def _next(self, step: _Step, number: int, answer: bytes | None) -> Try:
        if number:
            return AFTER.get((step.what, number), Try.REFUSED)
        what = step.what
        if what not in LOOKS:
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
        return ALLOWED[what]

    def _requests(self, step: _Step) -> list[Request]:
        """The last of them is the one whose answer counts."""
        raw = step.raw
        match step.what:
            case Try.CREATE | Try.ADOPT:
                return [self._creation(raw)]
            case Try.ORPHAN:
                return [self._creation(raw, orphan=True)]
            case Try.UPDATE:
                return [(CT_NEW, 0, update_request(raw, self._hold_s, self._half_open_s))]
            case Try.REPLACE:
                return [(CT_DELETE, 0, delete_request(raw)), self._creation(raw)]
            case Try.CLEAR:
                return [(CT_DELETE, 0, reply_request(raw)), self._creation(raw)]
            case Try.DELETE:
                return [(CT_DELETE, 0, delete_request(raw))]
            case Try.LOOK | Try.LOOK_BEFORE_DELETE:
                return [(CT_GET, 0, delete_request(raw))]
            case Try.LOOK_REPLY:
                return [(CT_GET, 0, reply_request(raw))]
            case Try.EXPECT | Try.EXPECT_AGAIN:
                return [(EXP_NEW, _CREATION, expect_create_request(raw))]
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
        return CT_NEW, _CREATION, create_request(raw, self._hold_s, self._half_open_s, orphan=orphan)

    def _refuse(self, reason: str) -> int:
        if reason in self.refusals or len(self.refusals) < 64:
            self.refusals[reason] = self.refusals.get(reason, 0) + 1
        return 1
