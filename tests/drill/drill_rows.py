"""A run's row with everything in order, to change one thing at a time."""

from typing import Any

from understudy.drill.result import RunJson


def run_row(**changes: Any) -> RunJson:
    """Any: the values are as many types as a row has fields."""
    row: RunJson = {
        "number": 1,
        "phase": 0.5,
        "phase_wanted": 0.5,
        "struck": "gw1",
        "network": None,
        "recovered": True,
        "outage_ms": 0.0,
        "outage_bound_ms": [None, None],
        "phases_ms": {"detect": 0.0, "decide": 0.0, "move": 0.0, "resume": 0.0},
        "packets_sent": 2000,
        "packets_lost": 0,
        "packets_duplicated": 0,
        "packets_reordered": 0,
        "tcp_established": 100,
        "tcp_survived": 100,
        "tcp_reset": 0,
        "tcp_stalled": 0,
        "tcp_by_path": {},
        "connects": 50,
        "refused_connects": 0,
        "timed_out_connects": 0,
        "connect_ms_max": 1.0,
        "dual_answer_ms": 0.0,
        "overlap_ms": 0.0,
        "silent_after_ms": None,
        "role_changes": 0,
        "role_changes_by_node": {},
        "findings": [],
        "load_average": 0.1,
        "prober_cpu": 0.2,
        "prober_realtime": True,
        "sender_stall_ms": 0.1,
        "flow_stall_ms": 0.1,
        "injected_ms": None,
        "events": [],
        "trace": {"start_ms": -300.0, "end_ms": 600.0, "lanes": {}, "strips": []},
    }
    row.update(changes)  # type: ignore[typeddict-item]  # a test names the fields that it means
    return row
