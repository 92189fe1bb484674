"""A router's whole life beside another implementation: elect, preempt or not, leave with priority 0, return, die,
return, be cut off and healed. What is checked is seen on the wire: who advertises, and who answers for the address.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass

from beside import Pair, pair_of
from speech import OURS, THEIRS, Speech
from tap import Advertised

from understudy.lab import sandbox


@dataclass(frozen=True)
class Row:
    """One check of one trial."""

    speech: str
    ours_first: bool
    preempt: bool
    check: str
    ok: bool
    took_ms: float | None = None
    """From the event to the first advertisement of who takes over, on the switch's clock."""
    detail: str = ""


@dataclass
class Trial:
    speech: Speech
    ours_first: bool
    preempt: bool

    @property
    def first(self) -> str:
        return OURS if self.ours_first else THEIRS

    @property
    def second(self) -> str:
        return THEIRS if self.ours_first else OURS

    def run(self) -> list[Row]:
        """In a sandbox of its own; a check that fails is the last one."""
        with sandbox.start(self._main) as told:
            rows: list[Row] = told.receive(300)
            return rows

    def _main(self, report: Callable[[list[Row]], None]) -> None:
        rows: list[Row] = []
        check = "start"
        with pair_of(self.speech, self.ours_first, self.preempt) as pair:
            try:
                for check, took, detail in life(pair, self):
                    rows.append(self._row(check, True, took, detail))
            except AssertionError as failure:
                rows.append(self._row(f"after {check}", False, None, str(failure)))
        report(rows)

    def _row(self, check: str, ok: bool, took: float | None, detail: str) -> Row:
        return Row(self.speech.name, self.ours_first, self.preempt, check, ok, took, detail)


Step = tuple[str, float | None, str]


def life(pair: Pair, trial: Trial) -> Iterator[Step]:
    """Checks in order: name, milliseconds if a time belongs to it, and what was seen."""
    first, second = trial.first, trial.second
    pair.start(second)
    pair.settle(second)
    yield "elect", None, f"{second} alone"
    active, backup = second, first

    pair.start(backup)
    active, backup = yield from _return(pair, trial, active, backup, "preempt" if trial.preempt else "no preempt")

    at = pair.leave(active)
    pair.settle(backup)
    farewell, taken = pair.wire.farewell_after(at, active), pair.wire.first_after(at, backup)
    assert farewell is not None, f"no farewell of {active}"
    assert taken is not None
    took = (taken.at - farewell.at) / 1e6
    assert took < pair.interval * 2.5 / 1e6 + 1000 * (trial.speech.version == 2), f"{took:.0f} ms: not by the farewell"
    yield "priority 0", took, f"{active} leaves, {backup} takes over"
    active, backup = backup, active

    pair.start(backup)
    active, backup = yield from _return(pair, trial, active, backup, "return")

    at = pair.die(active)
    pair.settle(backup)
    taken = pair.wire.first_after(at, backup)
    assert taken is not None
    yield "fail over", (taken.at - at) / 1e6, f"{active} dies, {backup} takes over"
    active, backup = backup, active

    pair.boot(backup)
    active, backup = yield from _return(pair, trial, active, backup, "return after death")

    refused = pair.wire.unreachable
    pair.lab.cut(active, "lan")
    if trial.speech.lans == 1:
        pair.until(lambda: pair.speaking() == {OURS, THEIRS}, "both speak while the cable is cut")
        pair.lab.heal(active, "lan")
        pair.settle(first)
        yield "heal", None, f"{active} was cut off: {first} remains"
    else:
        pair.lab.heal(active, "lan")
        pair.stay(active)
        yield "heal", None, f"one of two cables of {active} was cut for a moment"

    own = [a for a in pair.wire.advertised if a.node == OURS]
    assert pair.wire.unreachable == refused, "our kernel refuses their packets although our agent runs"
    yield "form", None, _form(own, pair)


def _return(pair: Pair, trial: Trial, active: str, backup: str, name: str) -> Generator[Step, None, tuple[str, str]]:
    """The other node is back: who serves now?"""
    at = time.time_ns()
    if trial.preempt and backup == trial.first:
        pair.settle(backup)
        taken = pair.wire.first_after(at, backup)
        yield name, (taken.at - at) / 1e6 if taken else None, f"{backup} takes over from {active}"
        return backup, active
    pair.stay(active)
    yield name, None, f"{active} goes on, {backup} stands by"
    return active, backup


def _form(own: list[Advertised], pair: Pair) -> str:
    """How our advertisements looked; fails if they are not as the file has it, or were refused by our own decoder."""
    speech = pair.speech
    assert not pair.wire.refused, pair.wire.refused
    assert {a.advertisement.version for a in own} == {speech.version}
    assert {a.advertisement.unicast for a in own} == {speech.unicast}
    if speech.family == 4 and speech.version == 3:
        assert {a.advertisement.pseudo_header for a in own} == {speech.checksum == "rfc5798"}
    virtual = {a.source_mac[:4] == b"\0\0\x5e\0" for a in own}
    assert virtual == {speech.virtual_mac}
    if speech.unicast:
        unresolved = sum(bool(a.destination_mac[0] & 1) for a in own)
        return f"{len(own)} advertisements, {unresolved} before the MAC was known"
    return f"{len(own)} advertisements"


def as_json(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False)
