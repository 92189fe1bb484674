"""Every row of the decision's table, and every move without choice, is walked: none is a sentence on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.config import load_plan
from understudy.core.decision import TABLE
from understudy.core.forced import FORCED
from understudy.sim.faults import Fault
from understudy.sim.stage import Stage
from understudy.units import NetworkName, NodeName, parse_duration

PAIR = Path(__file__).parents[2] / "examples" / "pair.yaml"
PREEMPTING = PAIR.read_text().replace("advertise: 100ms", "advertise: 100ms\n    preempt: true").encode()

STATEFUL = Path(__file__).parents[2] / "examples" / "stateful.yaml"

STORIES: dict[str, tuple[str, ...]] = {
    # at, kind, what it strikes, for how long: `node/network`, `node>peer` or `node`
    "last-port-lost": ("1s link-down gw1/outside 9s", "1001ms link-down gw1/inside 9s"),
    "no-carrier": ("1s link-down gw1/sync 9s", "1s link-down gw1/outside 9s", "1s link-down gw1/inside 9s"),
    "rival-outranks": (
        "1s path-cut gw1/outside>gw2 9s",
        "1s path-cut gw1/inside>gw2 9s",
        "1s path-cut gw1/sync>gw2 3s",
    ),
    "rival-is-deaf": ("1s partition-one-way gw1>gw2 9s",),
    "rival-yields": ("1s partition-one-way gw1>gw2 3s",),
    "outranked-on-a-lan": ("1s partition gw1>gw2 3s", "1s partition-channel gw1>gw2 3500ms"),
    "rest-hand-over": ("1s maintenance gw1 3s",),
    "rest-waits-for-state": ("stateful", "1s event-overrun gw1 9s", "2s maintenance gw1 3s"),
    "rest-hand-over-without-state": ("stateful", "1s event-overrun gw1 9s", "2s agent-stop gw1 3s"),
    "waits-for-state": ("stateful", "1s node-power-loss gw1 3s", "4s slow-standby gw1 3s 900ms"),
    "handed-over": ("1s switchover edge",),
    "offer-taken": ("1s switchover edge",),
    "peer-reaches-more": ("1s link-silent gw1/outside 3s",),
    "peer-reaches-more-just-now": ("1s link-down gw1/outside 3s", "1500ms link-down gw2/outside 9s"),
    "peer-reaches-more-held-down": (
        "1s link-silent gw1/inside 12s",
        "1100ms flap gw2/inside 8s 1s",
    ),
    "peer-asks": ("preempting", "1s node-power-loss gw1 3s"),
    "asks-back": ("preempting", "1s node-power-loss gw1 3s"),
    "asks-back-soon": ("preempting", "1s node-power-loss gw1 3s"),
    "held-down": ("preempting", *(f"{at}s link-down gw1/outside 500ms" for at in (1, 4, 7))),
    "serves": (),
    "serves-alone": ("1s node-power-loss gw2 3s",),
    "serves-for-want-of-another": ("1s node-power-loss gw2 9s", "2s maintenance gw1 3s"),
    "rests": ("1s maintenance gw2 3s",),
    "no-port": ("1s link-down gw2/outside 3s", "1s link-down gw2/inside 3s"),
    "hears-active": (),
    "channel-says-active": ("1s path-cut gw1/outside>gw2 3s", "1s path-cut gw1/inside>gw2 3s"),
    "takes-over": ("1s node-power-loss gw1 3s",),
    "takes-over-asking": ("1s node-power-loss gw2 5s", "4s agent-freeze gw1 30s"),
    "peer-takes-over": ("1s link-down gw2/outside 9s", "2030ms agent-freeze gw1 270ms"),
    "started": (),
    "adopted": ("1s agent-restart gw1",),
    "successor-heard": (
        "at 1s",
        "900ms slow-kernel gw2 3s 300ms",
        "1s switchover edge",
        "1020ms partition-channel gw1>gw2 5s",
    ),
    "offer-withdrawn": ("1s partition-one-way gw2>gw1 20s", "1050ms switchover edge"),
    "contradicts-channel": ("1s forged-advertisements /outside=higher 2s 50ms",),
    "resume-guard": ("1s agent-freeze gw1 3s",),
    "promotion-failed": ("1s kernel-refuses gw2 3s", "2s node-power-loss gw1 5s"),
    "stopped": ("1s node-power-loss gw2 9s", "2s agent-stop gw1 3s"),
}


def faults(lines: tuple[str, ...], begin: int) -> Iterator[Fault]:
    for line in lines:
        at, kind, what, *rest = line.split()
        where, _, forged = what.partition("=")
        where, _, peer = where.partition(">")
        node, _, network = where.partition("/")
        group = kind == "switchover"
        yield Fault(
            begin + parse_duration(at),
            kind,
            NodeName("" if group else node),
            NetworkName(network),
            parse_duration(rest[0]) if rest else 0,
            parse_duration(rest[1]) if len(rest) > 1 else 0.0,
            node if group else peer or forged,
        )


@pytest.mark.parametrize("row", STORIES)
def test_the_story_walks_the_row(row: str) -> None:
    """A few faults, an invariant after every event, and the row came into force in that very story."""
    lines = STORIES[row]
    files: dict[str, Path | bytes] = {"preempting": PREEMPTING, "stateful": STATEFUL}
    file = files.get(lines[0] if lines else "")
    slowly = lines[:1] == ("at 1s",)
    stage = Stage(load_plan(file or PAIR, parse_duration("1s") if slowly else None))
    before = {} if row in ("started", "serves", "hears-active") else stage.world.processes.rows_walked()
    for fault in faults(lines[file is not None or slowly :], stage.begin):
        stage.injector.schedule(fault)
    stage.run_for(parse_duration("14s"))
    assert stage.world.processes.rows_walked().get(row, 0) > before.get(row, 0)


def test_no_row_is_without_a_story() -> None:
    """A new row needs one."""
    assert set(STORIES) == {row.name for row in (*TABLE, *FORCED)}
