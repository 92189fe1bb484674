"""Rows of the table as plain values: short ones for the way to who asks, and named ones for programs."""

from collections.abc import Sequence
from typing import Any

from understudy.ios.show import Endpoint
from understudy.ios.translations import Kind, Translation

_SIDES = ("inside_global", "inside_local", "outside_local", "outside_global")


def packed(row: Translation) -> list[Any]:
    """As short as it goes; `unpacked` reads it back."""
    ends = [None if end is None else [end.address, end.port] for end in (getattr(row, side) for side in _SIDES)]
    ages = (row.age_s, row.idle_s, row.left_s)
    return [row.protocol, *ends, str(row.kind), row.vrf, *ages, list(row.flags), row.rule, row.interface, row.flow]


def unpacked(values: Sequence[Any]) -> Translation:
    """Raises ValueError for anything else."""
    try:
        protocol, *rest = values
        ends = [None if end is None else Endpoint(str(end[0]), end[1]) for end in rest[:4]]
        kind, vrf, age, idle, left, flags, rule, interface, flow = rest[4:]
        return Translation(
            protocol, ends[0], ends[1], ends[2], ends[3], Kind(kind), vrf, age, idle, left, tuple(flags), rule,
            interface, flow,
        )  # fmt: skip
    except (TypeError, IndexError, KeyError) as error:
        raise ValueError(f"no row of a table: {error}") from None


def plain(row: Translation) -> dict[str, Any]:
    """For `--json`: the names that `understudy nat parse-show` uses, and what is known besides."""
    return {
        "protocol": row.protocol,
        **{side: _plain_end(getattr(row, side)) for side in _SIDES},
        "kind": str(row.kind),
        "vrf": row.vrf,
        "created_s": row.age_s,
        "used_s": row.idle_s,
        "left_s": row.left_s,
        "flags": list(row.flags),
        "mapping": row.rule,
        "interface": row.interface,
    }


def _plain_end(end: Endpoint | None) -> dict[str, Any] | None:
    return None if end is None else {"address": end.address, "port": end.port}
