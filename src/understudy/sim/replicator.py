"""One machine's replicator in the simulated world: the real machine of core.replication, on a simulated kernel.

The kernel's entries are real messages (wire.conntrack) whose timeout is the version of a simulated flow (sim.flows).
Writing and listing take time and are answered; news of the kernel comes at once, unless a fault loses it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from understudy.core.replication.effects import Drain, List, Ready, Send, Synced, Write
from understudy.core.replication.events import (
    Drained,
    Event,
    KernelChanged,
    KernelOverrun,
    Kind,
    Listed,
    Record,
    Started,
    Tick,
    Written,
)
from understudy.core.replication.machine import Replication
from understudy.core.timers import NEVER
from understudy.sim.machine import Machine
from understudy.units import MICROSECOND, MILLISECOND, Duration, GroupName, Instant
from understudy.wire.conntrack import Flow, Tcp, Tuple, build, original, timeout_of
from understudy.wire.marks import flow_mark

if TYPE_CHECKING:
    from understudy.sim.flows import Flows

WRITE: Duration = 300 * MICROSECOND
LIST: Duration = MILLISECOND
_ESTABLISHED = 3
_ASSURED = 0x18E
_SERVER = IPv4Address("198.51.100.9")
_GATEWAY = IPv4Address("203.0.113.10")
_VERSION_BITS = 0x3FF
"""Of the mark: what is equal in both kernels is compared by digests, and timeouts are no part of them."""


class Replicator:
    """One process: all of this is lost with it."""

    def __init__(self, flows: "Flows", machine: Machine, stream: int) -> None:
        self.complete: set[GroupName] = set()
        self.waiting: list[Callable[[], None]] = []
        """What came while it was frozen."""
        self._flows = flows
        self._machine = machine
        self._names = {group.number: group.name for group in machine.settings.groups}
        self._replication = Replication(machine.settings)
        self._tick_at: int = NEVER
        self._busy_until = 0
        self._do: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            Write: self._write,
            List: self._list,
            Drain: lambda effect: self._soon(100 * MICROSECOND, Drained(effect.number)),
            Ready: lambda effect: flows.ready(machine, effect),
            Synced: self._synced,
        }
        self.feed(Started(stream, frozenset(machine.owns)))

    def feed(self, event: Event) -> None:
        """One event into the machine, its effects out."""
        now = Instant(self._flows.now)
        for effect in self._replication.handle(now, event):
            do = self._do.get(type(effect))
            if do is not None:
                do(effect)
        due = self._replication.next_deadline()
        if due is not None and due < self._tick_at:
            self._tick_at = due
            self._flows.later(self._machine, self, max(due - now, 0), lambda: self._tick(due))

    def changed(self, number: int, flow: int, version: int) -> None:
        """News of a flow of group `number`."""
        self.feed(KernelChanged([(Kind.CHANGED, message(number, flow, version))]))

    def overrun(self) -> None:
        self.feed(KernelOverrun(over=True))

    # --- below

    def _tick(self, due: int) -> None:
        if due == self._tick_at:
            self._tick_at = NEVER
            self.feed(Tick())

    def _send(self, effect: Send) -> None:
        for payload in effect.payloads:
            self._flows.send(self._machine, effect.node, effect.network, payload)

    def _synced(self, effect: Synced) -> None:
        (self.complete.add if effect.complete else self.complete.discard)(effect.group)
        self._flows.synced(self._machine, effect)

    def _write(self, effect: Write) -> None:
        """One batch after the other."""
        flows = self._flows
        took = WRITE + int(flows.random() * flows.slow[self._machine.name])
        self._busy_until = max(flows.now, self._busy_until) + took
        flows.later(self._machine, self, self._busy_until - flows.now, lambda: self._written(effect))

    def _written(self, effect: Write) -> None:
        self._store(effect.records)
        self.feed(Written(effect.number))

    def _store(self, records: Sequence[Record]) -> None:
        tables = self._flows.tables[self._machine.name]
        for kind, raw in records:
            found = read(raw) if kind in (Kind.CHANGED, Kind.GONE) else None
            if found is None:
                continue
            number, flow, version = found
            table = tables.setdefault(self._names[number], {})
            if kind is Kind.GONE:
                table.pop(flow, None)
            else:
                table[flow] = version

    def _list(self, effect: List) -> None:
        self._flows.later(self._machine, self, LIST, lambda: self._listed(effect))

    def _listed(self, effect: List) -> None:
        tables = self._flows.tables[self._machine.name]
        entries = [
            message(number, flow, version)
            for number in sorted(effect.groups)
            for flow, version in tables.get(self._names[number], {}).items()
        ]
        self._soon(LIST // 2, Listed(effect.number, entries, True))

    def _soon(self, wait: Duration, event: Event) -> None:
        self._flows.later(self._machine, self, wait, lambda: self.feed(event))


@lru_cache(maxsize=8192)
def message(number: int, flow: int, version: int) -> bytes:
    """What a kernel would say of it."""
    client = IPv4Address(f"10.9.{number}.{flow}")
    return build(
        Flow(
            Tuple(client, _SERVER, 6, 1024 + flow, 80),
            Tuple(_SERVER, _GATEWAY, 6, 80, 1024 + flow),
            _ASSURED,
            version,
            flow_mark(0, number) | version & _VERSION_BITS,
            Tcp(_ESTABLISHED),
        )
    )


@lru_cache(maxsize=8192)
def read(raw: bytes) -> tuple[int, int, int] | None:
    """Group, flow and version of an entry; None if it is none of ours."""
    at = original(raw).find(b"\x0a\x09")
    if at < 0:
        return None
    number, flow = original(raw)[at + 2 : at + 4]
    return number, flow, timeout_of(raw) or 0
