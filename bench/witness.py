"""Whether an address answered before its state was there, for any contender's pair.

A process of its own remembers the established flows of the Active's kernel, waits at the standby's ports for the first
answer or announcement, and reads the standby's kernel that very moment. What was established at the Active for a
quarter of a second and is not in the new one then is `missing_at_answer`. Reading takes milliseconds, and what comes
into the kernel meanwhile counts as there: in favour of whoever is late.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from injections import Scene
from state import dump_here, flows_in, raw_dump, steady
from summary import Row

from understudy.adapters.scheduling import ask_for_real_time
from understudy.drill import stage
from understudy.drill.flowtable import open_table
from understudy.drill.frames import sight
from understudy.drill.processes import ProbeProcess
from understudy.drill.sockets import clock_offset, drain
from understudy.units import Instant

APART_S = 0.25
WAIT_S = 15.0
_PRIORITY = 40


@contextlib.contextmanager
def witness(scene: Scene) -> Iterator[Callable[[], Row]]:
    with ProbeProcess("state", lambda: _watch(scene)) as process:
        time.sleep(2 * APART_S)
        yield lambda: process.result(WAIT_S + 10)


def _watch(scene: Scene) -> Row:
    lab, group = scene.lab, scene.plan.groups[0]
    addresses = {str(address.ip) for router in group.routers for address in router.addresses}
    networks = list(dict.fromkeys(str(router.network) for router in group.routers))
    taps = [stage.tap(lab, scene.standby, network) for network in networks]
    new = lab.namespaces[scene.standby].run(open_table)
    before = steady(flows_in(lab.namespaces[scene.active].run(dump_here)))
    time.sleep(APART_S)
    before &= steady(flows_in(lab.namespaces[scene.active].run(dump_here)))
    ask_for_real_time(_PRIORITY)
    if first_answer(taps, addresses, WAIT_S) is None:
        return {"flows_before": len(before), "missing_at_answer": None}
    parts = raw_dump(new)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    there = steady(flows_in(parts))
    return {"flows_before": len(before), "missing_at_answer": len(before - there)}


def first_answer(taps: Sequence[socket.socket], addresses: Collection[str], timeout_s: float) -> Instant | None:
    """When a frame that answers for or announces one of the addresses was first seen at a tap; None if none came."""
    poll = select.poll()
    for tap in taps:
        poll.register(tap, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        poll.poll(100)
        offset = clock_offset()
        for tap in taps:
            for instant, frame in drain(tap, 128, offset):
                seen = sight(frame)
                if seen is not None and seen[0] != "advertisement" and seen[1] in addresses:
                    return instant
    return None
