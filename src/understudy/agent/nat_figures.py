"""Figures for `show ip nat statistics`: what the kernel and the allocator counted, and our own record of the peak.

hits, misses   counters of the rule set (render.ios_counted), since the table was made; a host refused by a dry pool
               is a miss too
expired        flows that this kernel made and that are no more, and entries of the allocator that nobody used. What
               was taken over from the other node counts as long as it is there: the figure may be too low
peak           the highest number that anybody saw: nobody counts all the time, so it is that of the questions
"""

import contextlib
import json
import os
import time
from pathlib import Path

from understudy.adapters.nftables import Nft
from understudy.agent.nat_view import View
from understudy.agent.pool_figures import Figures
from understudy.errors import EnvironmentFailure
from understudy.ios.counted import Counters
from understudy.render.ios_counted import HITS, LISTING, MISSES, parse_counters
from understudy.render.ios_nat import IosNat

PEAK_FILE = "nat-peak.json"
_PEAK_BYTES_MAX = 256


def counters_of(seen: View, nat: IosNat, figures: Figures | None, peak: tuple[int, int]) -> Counters:
    """`peak`: the highest number known, and how long ago in seconds."""
    kernel = _kernel()
    hits, made = kernel.get(HITS, 0), kernel.get(MISSES, 0)
    expired = max(0, made - len(seen.flows))
    number, ago = peak
    if figures is None:
        return Counters(hits=hits, misses=made, expired=expired, peak=number, peak_age_s=ago, fast=hits)
    pool_misses: dict[str, int] = {}
    for each in nat.allocated:
        if (told := figures.pools.get(each.number)) is not None:
            pool_misses[each.pool] = pool_misses.get(each.pool, 0) + told.misses
    return Counters(
        hits=hits, misses=made + figures.missed, expired=expired + figures.released, peak=number, peak_age_s=ago,
        fast=hits, asked=figures.asked, pool_misses=pool_misses,
    )  # fmt: skip


def _kernel() -> dict[str, int]:
    try:
        with Nft() as nft:
            return parse_counters(nft.run(LISTING))
    except EnvironmentFailure:
        return {}  # no such table: lines that are only looked at


def noted_peak(directory: Path | None, active: int) -> tuple[int, int]:
    """The peak with the present number, kept in `directory` for the next question, and its age in seconds."""
    if directory is None:
        return active, 0
    path, now = directory / PEAK_FILE, int(time.time())
    before = _peak(path)
    if before is not None and before[0] > active:
        return before[0], max(0, now - before[1])
    fresh = path.with_name(f".{PEAK_FILE}.{os.getpid()}")
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps([active, now]))
        fresh.replace(path)
    return active, 0


def _peak(path: Path) -> tuple[int, int] | None:
    try:
        with path.open("rb") as stream:
            number, at = json.loads(stream.read(_PEAK_BYTES_MAX))
        return int(number), int(at)
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def forecasts(nat: IosNat, figures: Figures | None) -> dict[str, dict[str, int | None]]:
    """By pool: free addresses, hosts refused, and seconds until there is none at the rate of the last hour."""
    found: dict[str, dict[str, int | None]] = {}
    for each in nat.allocated:
        told = figures.pools.get(each.number) if figures is not None else None
        if told is None:
            continue
        before = found.get(each.pool, {})
        lefts = [left for left in (before.get("left_s"), told.left_s) if left is not None]
        found[each.pool] = {
            "free": told.capacity - told.given if not before else min(before["free"] or 0, told.capacity - told.given),
            "misses": told.misses + (before.get("misses") or 0),
            "left_s": min(lefts, default=None),
        }
    return found
