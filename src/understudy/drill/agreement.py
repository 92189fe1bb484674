"""Whether two kernels hold the same replicated flows, as the harness reads them, whatever the agents say."""

import time
from typing import Final

from understudy.core.settings import Keeping
from understudy.drill import flowtable
from understudy.drill.fault import Strike, now
from understudy.drill.staterecord import Listing
from understudy.drill.statewatch import Keeps, differing
from understudy.lab.namespace import Namespace
from understudy.units import MILLISECOND, SECOND, Duration

AGREED_MAX: Final[Duration] = 3 * SECOND
"""From the heal, or the death of a replicator, to two equal kernels."""
LOOK_EVERY_S: Final = 0.1
_APART_S: Final = 0.05


def agreed(strike: Strike) -> list[str]:
    """Whether both kernels hold the same replicated flows within AGREED_MAX from now on. How long that took is noted,
    the listing included.
    """
    settings = strike.lab.plan.settings(strike.active).flows
    began = time.monotonic_ns()
    while True:
        looked = time.monotonic_ns()
        left = apart(
            strike.lab.namespaces[strike.active],
            strike.lab.namespaces[strike.standby],
            lambda mark: settings.keeping(mark) is Keeping.REPLICATE,
        )
        if not left:
            strike.measures["agreed_ms"] = round((time.monotonic_ns() - began) / MILLISECOND, 3)
            return []
        if looked - began >= AGREED_MAX:
            strike.measures["flows_apart"] = len(left)
            examples = ", ".join(flowtable.describe(key) for key in left[:3])
            return [f"{len(left)} flows still differ {AGREED_MAX // SECOND} s later: {examples}"]
        time.sleep(LOOK_EVERY_S)


def apart(active: Namespace, standby: Namespace, keeps: Keeps) -> list[bytes]:
    """Replicated flows that differ in two listings one after the other, while their origin stayed as it was."""
    first = _list(active), _list(standby)
    suspects = differing(*first, keeps)
    if not suspects:
        return []
    time.sleep(_APART_S)
    second = _list(active), _list(standby)
    before, after = first[0].flows, second[0].flows
    return sorted(key for key in suspects & differing(*second, keeps) if before.get(key) == after.get(key))


def _list(namespace: Namespace) -> Listing:
    began = now()
    flows = {flow.key: flow for flow in map(flowtable.decode, _raw(namespace))}
    return Listing(namespace.name, began, now(), flows)


def list_injected(namespace: Namespace) -> set[bytes]:
    """Names of the synthetic flows in a kernel."""
    return {flowtable.synthetic_name(raw) for raw in _raw(namespace, synthetic=True)}


def _raw(namespace: Namespace, *, synthetic: bool = False) -> list[bytes]:
    def read() -> list[bytes]:
        table = flowtable.open_table()
        try:
            return [raw for raw in flowtable.list_raw(table) if flowtable.is_synthetic(raw) is synthetic]
        finally:
            table.close()

    return namespace.run(read)
