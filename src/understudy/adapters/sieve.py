"""A socket's filter that narrows under a flood: of frames of a kind that come too fast, only a share is let in.

Python takes some 10 us to refuse a frame, so 100 000 of them a second would fill the process, and the socket's queue
before it: genuine frames are lost in the crowd. The filter of a socket (classic BPF, linux/filter.h) runs where the
frame arrives and costs next to nothing, but it cannot count. So we count here and it sheds there: every kind of frames
has a budget a second; a kind that exceeds it is thinned to 1 of 8, then of 64, and so on, by chance; every second what
still comes shows how much that is, and the share grows again. Kinds are told apart by what the sender of a flood can
least choose, so that a flood of one leaves the others alone: a stranger's does not displace the peer's.

What is promised: at most the sum of the budgets is looked at in a second, whatever arrives; a kind within its budget
is never thinned; memory is bounded by the kinds. What is not: a sender that looks like the peer in everything that a
filter sees is thinned together with it.
"""

import ctypes
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from understudy.units import SECOND

SO_ATTACH_FILTER = 26
STEP = 3
"""Bits of chance that one narrowing adds: an eighth of what came so far."""
SHIFT_MAX = 4 * STEP
PASS = 0xFFFF
"""Bytes that the filter lets through: all."""


class Kind(StrEnum):
    """What a filter tells apart; the word is a part of the reason under which shed frames are counted."""

    PEER_VRRP = "vrrp-peer"
    """Advertisements from an address that a node of the file has on this LAN."""
    LINK_LOCAL_VRRP = "vrrp6"
    """Advertisements over IPv6: their sources are link-local addresses, which no file knows."""
    OTHER_VRRP = "vrrp-other"
    ANSWER = "answer"
    """ARP replies and neighbour advertisements."""
    PEER_DATAGRAM = "channel-peer"
    """Datagrams from the peer's address that name our key."""
    OTHER_DATAGRAM = "channel-other"
    PEER_FLOWS = "flows-peer"
    """As on the channel, but with the flows that the peer replicates."""
    OTHER_FLOWS = "flows-other"
    PEER_POOLS = "pools-peer"
    """As on the channel, but with the table of addresses that the peer hands out."""
    OTHER_POOLS = "pools-other"


BUDGET: Mapping[Kind, int] = {
    Kind.PEER_VRRP: 1000,
    Kind.LINK_LOCAL_VRRP: 1000,
    Kind.OTHER_VRRP: 500,
    Kind.ANSWER: 1500,
    Kind.PEER_DATAGRAM: 1000,
    Kind.OTHER_DATAGRAM: 500,
    Kind.PEER_FLOWS: 40_000,
    Kind.OTHER_FLOWS: 500,
    Kind.PEER_POOLS: 5000,
    Kind.OTHER_POOLS: 500,
}
"""Frames a second. A pair at 10 ms on two families sends 200; ten thousand neighbours answer some 300 times; a datagram
carries some five flows; a table of addresses comes as 500 (core.allocation.sharing), and every host that gets its first
address may be one more.
"""

# Classic BPF: load word, half word, byte; and with, jump if equal, return a constant.
LDW, LDH, LDB, AND, JEQ, RET = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM."""
Step = tuple[int, int] | tuple[int, int, str, str] | str
"""Operation and constant, with labels to go to if equal and if not (`""`: the next one); or a label of its own."""


def thinned(kinds: Mapping[Kind, int]) -> list[Step]:
    """The end of every program: a label a kind, which lets 1 of 2**shift pass, and the label `drop`."""
    steps: list[Step] = []
    for kind, shift in kinds.items():
        steps.append(kind.value)
        if shift:
            steps += [(LDW, RANDOM), (AND, (1 << shift) - 1), (JEQ, 0, "", "drop")]
        steps.append((RET, PASS))
    return [*steps, "drop", (RET, 0)]


def assemble(steps: list[Step]) -> bytes:
    """The program as the kernel takes it, labels turned into distances."""
    labels: dict[str, int] = {}
    instructions: list[tuple[int, int] | tuple[int, int, str, str]] = []
    for step in steps:
        if isinstance(step, str):
            labels[step] = len(instructions)
        else:
            instructions.append(step)
    labels[""] = 0
    program = b""
    for position, instruction in enumerate(instructions, 1):
        operation, constant = instruction[:2]
        jumps = [labels[name] - position if name else 0 for name in instruction[2:]]
        program += struct.pack("=HBBI", operation, *(jumps or (0, 0)), constant)
    return program


def attach(sock: socket.socket, program: bytes) -> None:
    """Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    )


@dataclass(slots=True)
class _Count:
    budget: int
    seen: int = 0
    """In this second."""
    shift: int = 0


class Sieve:
    """The counting half. `program` makes the filter for given shifts; it is attached at the start, and anew by a
    process that has the socket from its parent.
    """

    def __init__(self, sock: socket.socket, kinds: tuple[Kind, ...], program: Callable[[Mapping[Kind, int]], bytes]):
        self.shed: dict[str, int] = {}
        """Frames refused unseen after the filter had let them in, by reason; the kernel's own share is not counted."""
        self._socket = sock
        self._program = program
        self._counts = {kind: _Count(BUDGET[kind]) for kind in kinds}
        self._told: frozenset[Kind] = frozenset()
        self._turns_at = 0
        """When the second ends. Zero: the filter in the kernel may be another process's."""
        self._attach()

    def admits(self, kind: Kind) -> bool:
        """Count a frame that came through; False if it is one too many."""
        if time.monotonic_ns() >= self._turns_at:
            self.turn()
        count = self._counts[kind]
        count.seen += 1
        if count.seen <= count.budget:
            return True
        if count.seen == count.budget + 1:
            self._narrow(count)
        elif count.seen == 2 * count.budget:  # what was queued before the last narrowing is gone by now
            self._narrow(count)
            count.seen = count.budget + 2
        reason = f"flood-{kind}"
        self.shed[reason] = self.shed.get(reason, 0) + 1
        return False

    def news(self) -> list[tuple[Kind, bool]]:
        """Kinds that are flooded since the last call, and (False) that no longer are.

        To be called once a second: a filter that lets nothing in calls nobody, and must open again some time.
        """
        self.turn()
        flooded = frozenset(kind for kind, count in self._counts.items() if count.shift)
        news = [(kind, kind in flooded) for kind in sorted(flooded ^ self._told)]
        self._told = flooded
        return news

    def turn(self) -> None:
        """A second begins, if it is time."""
        now = time.monotonic_ns()
        if now < self._turns_at:
            return
        changed = not self._turns_at
        self._turns_at = now + SECOND
        for count in self._counts.values():
            wanted = 0
            while count.seen << count.shift >> wanted > count.budget // 2:  # by what came of this share
                wanted += STEP
            if wanted < count.shift:
                count.shift, changed = wanted, True
            count.seen = 0
        if changed:
            self._attach()

    def _narrow(self, count: _Count) -> None:
        if count.shift < SHIFT_MAX:
            count.shift += STEP
            self._attach()

    def _attach(self) -> None:
        attach(self._socket, self._program({kind: count.shift for kind, count in self._counts.items()}))
