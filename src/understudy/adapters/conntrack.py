"""This kernel's table of flows: what happens in it (FlowEvents), writing it, listing it, counting it.

Sockets belong to the namespace in which the object was made; only `renew` also reads /proc, so it wants to be called
inside.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final, TypeVar

from understudy.adapters.conntrack_events import NFNL_SUBSYS_CTNETLINK, FlowEvents
from understudy.adapters.conntrack_socket import BATCH, CT_DELETE, CT_GET, CT_NEW, EXP_GET, Request
from understudy.adapters.conntrack_timeouts import Timeouts
from understudy.adapters.conntrack_writer import FlowWriter
from understudy.adapters.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attributes
from understudy.adapters.watch import NETLINK_NETFILTER
from understudy.core.replication.events import Kind, Record
from understudy.errors import DecodeError, EnvironmentFailure
from understudy.wire.conntrack import (
    HALF_OPEN_S,
    HOLD_S,
    UNTOUCHED_S,
    delete_request,
    mark_of,
    master_request,
    portable,
    portable_expectation,
    timeout_of,
)
from understudy.wire.conntrack.attributes import CTA_MARK, CTA_MARK_MASK, attribute
from understudy.wire.conntrack.requests import timeout_request
from understudy.wire.marks import GROUP_MASK, GROUP_MAX, GROUP_SHIFT, flow_mark

__all__ = ["FlowEvents", "FlowTable"]

NLM_F_DUMP_INTR: Final = 0x10
IPCTNL_MSG_CT_GET_STATS: Final = 5
CTA_STATS_GLOBAL_ENTRIES, CTA_STATS_GLOBAL_MAX_ENTRIES = 1, 2
RECALL_MAX: Final = 1000
"""Expectations: some 20 ms. The kernel itself takes no more than nf_conntrack_expect_max."""
_CHUNK: Final = 1 << 15
"""Bytes: the kernel fills no more in one go."""
_PART: Final = 500
"""Entries that are handed over together, or a few more: some 3 ms for whoever reads them."""
_PATIENCE_S: Final = 10
_EVERYTHING: Final = bytes(4)
"""`nfgenmsg` of any family."""
_HEADER = struct.Struct("=IHHII")

T = TypeVar("T")
Part = list[bytes]
"""Some entries of a list."""


class FlowTable:
    """Conntrack of this namespace. What is written is of `groups`, and touches no flow of any other."""

    def __init__(
        self,
        hold_s: int = HOLD_S,
        half_open_s: int = HALF_OPEN_S,
        groups: Collection[int] = range(1, GROUP_MAX + 1),
    ) -> None:
        self._writer = FlowWriter(hold_s, half_open_s, groups=groups)
        self._idle = [_list_socket() for _ in range(2)]
        """A list that is under way has its socket for itself: one goes on while another renews."""
        self.unread = 0
        """Entries listed that this version does not understand."""

    @property
    def portid(self) -> int:
        """Of the socket that writes: its changes are nobody's news (FlowEvents)."""
        return self._writer.portid

    @property
    def refusals(self) -> dict[str, int]:
        """Records that the kernel would not take, by reason."""
        return self._writer.refusals

    def write(self, records: Sequence[Record]) -> int:
        """In order; they are in the kernel when this returns. Returns how many it refused."""
        return self._writer.write(records)

    def delete(self, raw: bytes) -> bool:
        """End the flow with this one's original tuple; False if there was none."""
        return not self._writer.send([(CT_DELETE, 0, delete_request(raw))])

    def count(self) -> int:
        """Entries in the whole table, those without a group included."""
        return self._statistic(CTA_STATS_GLOBAL_ENTRIES)

    def limit(self) -> int:
        """How many entries the kernel takes at most; 0 if it does not say."""
        return self._statistic(CTA_STATS_GLOBAL_MAX_ENTRIES)

    def list(self, groups: Collection[int]) -> Iterator[Part]:
        """Entries of the groups in parts of some 500, as the kernel tells them. Read to the end or closed, not left.

        The table changes meanwhile: each entry that is there all the time comes once. Raises EnvironmentFailure.
        """
        wanted = frozenset(groups)
        query = _EVERYTHING
        if len(wanted) == 1:  # the kernel can choose
            query += attribute(CTA_MARK, flow_mark(0, *wanted).to_bytes(4, "big"))
            query += attribute(CTA_MARK_MASK, GROUP_MASK.to_bytes(4, "big"))
        for part in self._dump(CT_GET, query):
            if len(wanted) == 1:
                yield part
                continue
            entries = []
            for raw in part:
                try:
                    if (mark_of(raw) & GROUP_MASK) >> GROUP_SHIFT in wanted:
                        entries.append(raw)
                except DecodeError:
                    self.unread += 1
            yield entries

    def expectations(self) -> Generator[Part]:
        """All of them, as they are to travel. Likewise."""
        for part in self._dump(EXP_GET, _EVERYTHING):
            yield list(self._read(part, portable_expectation))

    def recall(self, groups: Collection[int]) -> Sequence[Record]:
        """Expectations of flows of the groups, each behind its master as that is now: at most RECALL_MAX of them."""
        records: list[Record] = []
        with contextlib.closing(self.expectations()) as parts:
            for raw in islice(chain.from_iterable(parts), RECALL_MAX):
                answer = self._writer.ask((CT_GET, 0, master_request(raw)))
                try:
                    if answer is not None and (mark_of(answer) & GROUP_MASK) >> GROUP_SHIFT in groups:
                        records += [(Kind.CHANGED, portable(answer)), (Kind.EXPECTED, raw)]
                except DecodeError:
                    self.unread += 1
        return records

    def renew(self, groups: Collection[int]) -> Iterator[int]:
        """Give copies that no packet has touched the ordinary timeout of their protocol and state, part by part.

        Each step renews a part of some 500 and tells how many it were: the caller sets the pace.
        """
        timeouts = Timeouts()
        for part in self.list(groups):
            requests = [each for each in self._read(part, partial(_renewal, timeouts)) if each is not None]
            for start in range(0, len(requests), BATCH):
                self._writer.send(requests[start : start + BATCH])
            yield len(requests)

    def close(self) -> None:
        self._writer.close()
        for each in self._idle:
            each.close()

    def _statistic(self, kind: int) -> int:
        answer = self._writer.ask((NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS, 0, _EVERYTHING))
        return int.from_bytes(attributes(answer or b"", 4).get(kind, b""), "big")

    def _read(self, part: Part, read: Callable[[bytes], T]) -> Iterator[T]:
        """What is read of each entry: one that this version does not understand is counted, and keeps no other back."""
        for raw in part:
            try:
                yield read(raw)
            except DecodeError:
                self.unread += 1

    def _dump(self, kind: int, query: bytes) -> Iterator[Part]:
        source = self._idle.pop() if self._idle else _list_socket()
        whole = False
        try:
            header = _HEADER.pack(16 + len(query), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            source.send(header + query)
            interrupted = False
            part: Part = []
            try:
                while not whole:
                    entries, whole, cut = _part(source)
                    interrupted |= cut
                    part += entries
                    if len(part) >= _PART or (whole and part):
                        yield part
                        part = []
            except GeneratorExit:  # left in the middle: the socket is wanted again
                with contextlib.suppress(OSError):
                    while not whole:
                        _, whole, _ = _part(source)
                raise
            if interrupted:
                raise EnvironmentFailure("list", "flows", "the table was rebuilt meanwhile")
        except OSError as error:
            raise EnvironmentFailure(
                "list", "flows", os.strerror(error.errno or 0) if error.errno else str(error)
            ) from error
        finally:
            if whole:
                self._idle.append(source)
            else:  # refused, or silent: nobody knows what is still to come
                source.close()


def _part(source: socket.socket) -> tuple[Part, bool, bool]:
    """Payloads of one receive, whether they were the last, and whether the kernel says that some may be missing."""
    data = source.recv(_CHUNK)
    entries: list[bytes] = []
    offset = flags = 0
    unpack = _HEADER.unpack_from
    while offset + 16 <= len(data):
        size, kind, own, _, _ = unpack(data, offset)
        if size < 16:
            break
        flags |= own
        if kind == NLMSG_DONE:
            return entries, True, bool(flags & NLM_F_DUMP_INTR)
        if kind == NLMSG_ERROR:
            number = -struct.unpack_from("=i", data, offset + 16)[0]
            raise OSError(number, os.strerror(number))
        entries.append(data[offset + 16 : offset + size])
        offset += size + 3 & ~3
    return entries, False, bool(flags & NLM_F_DUMP_INTR)


def _renewal(timeouts: Timeouts, raw: bytes) -> Request | None:
    """Of a copy that no packet has touched."""
    return (CT_NEW, 0, timeout_request(raw, timeouts.of(raw))) if timeout_of(raw) > UNTOUCHED_S else None


def _list_socket() -> socket.socket:
    fresh = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    fresh.settimeout(_PATIENCE_S)
    fresh.bind((0, 0))
    return fresh
