"""A change under load: what users lose while running nodes take another file. The probes are the drill's.

Every step is judged within its own window, from just before the first node is asked until well after the last one has
answered: long enough for a peer to fall silent, if the change made it so.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.agent import client
from understudy.config.plan import Group
from understudy.drill import journal, measure, stage
from understudy.drill.board import Board, Cell
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import FlowRecord, WireRecord
from understudy.errors import EnvironmentFailure
from understudy.lab.build import Lab
from understudy.units import MILLISECOND, SECOND, Duration, Instant

LEAD: Duration = 50 * MILLISECOND
READY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """One reload of all nodes, and when it was watched."""

    name: str
    window: tuple[Instant, Instant]
    replies: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What one step cost."""

    step: str
    sent: int
    lost: int
    duplicated: int
    outage_ms: float
    """The longest run without an arrival."""
    resets: int
    """Established connections that ended."""
    refused: int
    """New connections that were refused or never answered."""
    role_changes: int
    took_ms: tuple[float, ...]
    """Of each node's reload."""
    stalled_ms: float
    """How late our own sender was at most: more than 5 ms voids the row."""


@dataclass(slots=True)
class Traffic:
    """A lab's traffic while it flows, and the steps taken meanwhile."""

    lab: Lab
    group: Group
    steps: list[Step] = field(default_factory=list)
    records: tuple[WireRecord, FlowRecord] | None = None
    """Once it has ended."""

    def reload(self, name: str, text: bytes, order: Sequence[str], settle: Duration = SECOND // 2) -> Step:
        """Have the nodes take a file, in this order; then wait. Whoever refuses ends the step."""
        begun = Instant(time.monotonic_ns() - LEAD)
        replies: list[Mapping[str, Any]] = []
        for node in order:
            replies.append(client.reload(self.lab.run_dir(node), name, text))
            if "error" in replies[-1]:
                break
        time.sleep(settle / SECOND)
        step = Step(name, (begun, Instant(time.monotonic_ns())), tuple(replies))
        self.steps.append(step)
        return step

    def watch(self, name: str, act: Callable[[], object], settle: Duration = SECOND // 2) -> Step:
        """Anything else that is to be judged alike."""
        begun = Instant(time.monotonic_ns() - LEAD)
        act()
        time.sleep(settle / SECOND)
        step = Step(name, (begun, Instant(time.monotonic_ns())), ())
        self.steps.append(step)
        return step

    def rows(self) -> list[Row]:
        """One for each step, once the traffic has ended."""
        assert self.records is not None, "the traffic still flows"
        wire, flows = self.records
        events = journal.merge(
            [journal.read(self.lab.run_dir(node) / "events.jsonl", Instant(0)) for node in self.group.nodes]
        )
        return [self._row(step, wire, flows, events) for step in self.steps]

    def _row(self, step: Step, wire: WireRecord, flows: FlowRecord, events: Sequence[journal.Event]) -> Row:
        start, end = step.window
        counts = [measure.count(stream, step.window) for stream in wire.streams]
        gaps = [measure.longest_gap((at for at, _ in stream.arrivals), step.window) for stream in wire.streams]
        late = [
            after - before - measure.DATAGRAM_PERIOD
            for stream in wire.streams
            for before, after in measure.stalls(stream.sent, measure.DATAGRAM_PERIOD, step.window)
        ]
        changes = 0
        for node in self.group.nodes:
            before = [e for e in events if e.instant < start and e.node == node and e.kind == "moved"]
            active = bool(before) and journal.is_active(before[-1].details.get("new"))
            during = [event for event in events if start <= event.instant <= end]
            changes += len(journal.role_changes(during, str(self.group.name), node, active))
        return Row(
            step=step.name,
            sent=sum(count.sent for count in counts),
            lost=sum(count.lost for count in counts),
            duplicated=sum(count.duplicated for count in counts),
            outage_ms=max(gap.outage for gap in gaps) / MILLISECOND,
            resets=sum(start <= one.ended <= end for one in flows.connections),
            refused=sum(start <= one.scheduled <= end and one.outcome != "answered" for one in flows.connects),
            role_changes=changes,
            took_ms=tuple(round(float(reply.get("took_ms", 0)), 1) for reply in step.replies),
            stalled_ms=max(late, default=0) / MILLISECOND,
        )


@contextmanager
def traffic(lab: Lab, group: Group, connections: int = 40) -> Iterator[Traffic]:
    """1 kHz of datagrams each way and a population of connections through the pair, until the block ends."""
    board = Board()
    flowing = Traffic(lab, group)
    with (
        ProbeProcess("wire", lambda: stage.wire_probe(lab, group, board).run()) as wire,
        ProbeProcess("TCP", lambda: stage.flow_probe(lab, group, connections, board).run()) as flows,
    ):
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not (board[Cell.WIRE_READY] and board[Cell.FLOWS_READY]):
            if time.monotonic() > deadline:
                raise EnvironmentFailure("start", "the probes", f"not ready after {READY_TIMEOUT_S:g} s")
            time.sleep(0.01)
        time.sleep(0.3)
        yield flowing
        board[Cell.STOP] = time.monotonic_ns()
        flowing.records = wire.result(30), flows.result(30)


def kernel_dump(lab: Lab, node: str) -> str:
    """What a node's kernel holds that a reload could touch: rule sets, links, addresses, rules, sysctls of ports."""
    return "".join(lab.namespaces[node].run(_dump))


def _dump() -> list[str]:
    import subprocess

    commands = ("nft -s list ruleset", "ip -o address", "ip rule", "ip -6 rule", "ip -o link")
    texts = [subprocess.run(each.split(), capture_output=True, text=True, check=True).stdout for each in commands]
    sysctls = sorted(Path("/proc/sys/net/ipv4/conf").glob("*/arp_*"))
    return [*texts, *(f"{path} {path.read_text()}" for path in sysctls)]
