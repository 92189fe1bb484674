"""The kernel's news of flows, sieved in the kernel: what the rest of the node is never to look at never arrives.

A program in the socket (classic BPF with the attribute extensions of linux/filter.h) drops

* what our own writing socket caused, by the port that the message names;
* flows without a group in their mark: the node's own traffic, and what nobody wants kept;
* TCP in SYN_SENT: nobody misses a flow that has no answer yet, and floods consist of them. Labels and a master are told
  only once, with the first message, so one that has either passes all the same.

Expectations pass: they have no mark. Their master is asked for, which has one, and goes before them: the kernel tells
nobody when a helper moves a flow's sequence numbers, which it does for the sake of an expectation.

When the socket overflows, the kernel says so once and then drops everything until the queue has been read empty. So an
overrun is reported at once, for nobody to believe in completeness, and again when the queue is empty, because only
a list that is read after that sees all of what was lost.
"""

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from understudy.adapters.batch import Batch
from understudy.adapters.conntrack_cuts import NETLINK_HEADER, Cutter
from understudy.adapters.netlink import NLM_F_REQUEST
from understudy.adapters.sieve import JEQ, LDH, LDW, PASS, RET, Step, assemble, attach
from understudy.adapters.watch import NETLINK_ADD_MEMBERSHIP, NETLINK_NETFILTER, SO_RCVBUFFORCE, SOL_NETLINK
from understudy.core.replication.events import KernelOverrun, Kind, Record
from understudy.wire.conntrack import attributes as cta
from understudy.wire.conntrack import mark_of, master_request, portable, portable_expectation, remains
from understudy.wire.conntrack.entry import SYN_SENT
from understudy.wire.marks import GROUP_MASK

NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_CTNETLINK_EXP = 1, 2
IPCTNL_MSG_NEW, IPCTNL_MSG_GET, IPCTNL_MSG_DELETE = 0, 1, 2
NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY = 1, 2, 3
NFNLGRP_CONNTRACK_EXP_NEW, NFNLGRP_CONNTRACK_EXP_DESTROY = 4, 6

_MESSAGE_MAX: Final = 2048
"""The kernel's own longest entries have some 600."""
_BATCH: Final = 256
"""Messages of one system call."""
_ATTRIBUTES: Final = NETLINK_HEADER + cta.HEADER
# Classic BPF: A = constant, X = constant, X = A, word and byte at X + constant, jump if any bit is set.
_LD_IMM, _LDX_IMM, _TAX, _LDW_IND, _LDB_IND, _JSET = 0x00, 0x01, 0x07, 0x40, 0x50, 0x45
_SKF_AD_OFF: Final = 0xFFFFF000
_NLATTR, _NLATTR_NEST = _SKF_AD_OFF + 12, _SKF_AD_OFF + 16


def _message(subsystem: int, kind: int) -> int:
    return subsystem << 8 | kind


_CT_NEW: Final = struct.pack("=H", _message(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_NEW))
_CT_GET: Final = _message(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_GET)
_READERS: Final[dict[bytes, tuple[Kind, Callable[[bytes], bytes]]]] = {
    struct.pack("=H", _message(subsystem, message)): (kind, reader)
    for subsystem, message, kind, reader in (
        (NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_NEW, Kind.CHANGED, portable),
        (NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_DELETE, Kind.GONE, remains),
        (NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_NEW, Kind.EXPECTED, portable_expectation),
        (NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_DELETE, Kind.UNEXPECTED, portable_expectation),
    )
}
"""By the type as it stands in the header."""


class FlowEvents:
    """News of this namespace's flows and expectations, but for what the socket with port `own_portid` caused."""

    def __init__(self, own_portid: int, buffer_bytes: int) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        with contextlib.suppress(OSError):  # beyond rmem_max only with CAP_NET_ADMIN over the machine
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
        attach(self.socket, assemble(_program(own_portid)))
        self.socket.bind((0, 0))
        for group in (
            NFNLGRP_CONNTRACK_NEW,
            NFNLGRP_CONNTRACK_UPDATE,
            NFNLGRP_CONNTRACK_DESTROY,
            NFNLGRP_CONNTRACK_EXP_NEW,
            NFNLGRP_CONNTRACK_EXP_DESTROY,
        ):
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self._questions = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._questions.setblocking(False)  # the kernel has answered when the question is sent
        self._questions.bind((0, 0))
        self._batch = Batch(_BATCH, _MESSAGE_MAX)
        self._cutter = Cutter(_READERS, self._with_master)
        self._losing = False
        """The queue overflowed and has not been empty since: the kernel drops what comes."""

    def read(self, limit: int) -> tuple[list[Record], KernelOverrun | None]:
        """At most `limit` records in order, and what is to be said of lost ones behind them."""
        records: list[Record] = []
        overrun = None
        while limit > 0:
            asked = min(limit, self._batch.most)
            try:
                batch = self._batch.receive(self.socket, asked)
            except (BlockingIOError, InterruptedError):
                if self._losing:
                    self._losing, overrun = False, KernelOverrun(over=True)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._losing, overrun = True, KernelOverrun(over=False)
                limit -= 1
                continue
            limit -= len(batch)
            self._cutter.cut(batch, records)
            if len(batch) < asked and not self._losing:
                break  # that was all; if it ended in an overrun, the next read begins with that
        return records, overrun

    def close(self) -> None:
        self.socket.close()
        self._questions.close()

    def _with_master(self, kind: Kind, raw: bytes) -> list[Record]:
        """Nothing if the master belongs to nobody; one that is gone has nothing more to say."""
        query = master_request(raw)
        header = struct.pack("=IHHII", NETLINK_HEADER + len(query), _CT_GET, NLM_F_REQUEST, 1, 0)
        self._questions.send(header + query)
        answer = self._questions.recv(_MESSAGE_MAX)
        if answer[4:6] != _CT_NEW:
            return [(kind, raw)] if kind is Kind.UNEXPECTED else []
        master = portable(answer[NETLINK_HEADER:])
        return [(Kind.CHANGED, master), (kind, raw)] if mark_of(master) & GROUP_MASK else []


def _program(own_portid: int) -> list[Step]:
    """Numbers of the header are in the machine's order, and a load swaps them to the network's."""
    steps: list[Step] = []
    if own_portid:
        steps += [(LDW, 12), (JEQ, _as_loaded(own_portid, 4), "drop", "")]
    expectations = [_message(NFNL_SUBSYS_CTNETLINK_EXP, each) for each in (IPCTNL_MSG_NEW, IPCTNL_MSG_DELETE)]
    return [
        *steps,
        (LDH, 4),
        *((JEQ, _as_loaded(each, 2), "pass", "") for each in expectations),
        *_find(cta.CTA_MARK, "drop"),
        (_LDW_IND, cta.HEADER),
        (_JSET, GROUP_MASK, "", "drop"),
        *_find(cta.CTA_PROTOINFO, "pass"),
        *_within(cta.CTA_PROTOINFO_TCP, "pass"),
        *_within(cta.CTA_PROTOINFO_TCP_STATE, "pass"),
        (_LDB_IND, cta.HEADER),
        (JEQ, SYN_SENT, "", "pass"),
        *_find(cta.CTA_TUPLE_MASTER, "unlabelled"),
        (RET, PASS),
        "unlabelled",
        *_find(cta.CTA_LABELS, "drop"),
        "pass",
        (RET, PASS),
        "drop",
        (RET, 0),
    ]


def _find(kind: int, otherwise: str) -> list[Step]:
    """X = where the attribute begins."""
    return [(_LD_IMM, _ATTRIBUTES), (_LDX_IMM, kind), (LDW, _NLATTR), (JEQ, 0, otherwise, ""), (_TAX, 0)]


def _within(kind: int, otherwise: str) -> list[Step]:
    """X = where the attribute inside of the one at A begins; A is left there by `_find`."""
    return [(_LDX_IMM, kind), (LDW, _NLATTR_NEST), (JEQ, 0, otherwise, ""), (_TAX, 0)]


def _as_loaded(number: int, size: int) -> int:
    return int.from_bytes(number.to_bytes(size, sys.byteorder), "big")
