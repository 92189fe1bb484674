"""What is asked of a node's NAT, answered by the process that reads orders (agent.loading): show and clear.

    question   JSON: {"do": "translations" | "statistics" | "pool" | "table" | "lines" | "clear", ...}
    answer     plain values; rows packed (ios.rows), at most ROWS_MAX of them

The core has no part in it: listing a flow table takes as long as it takes.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from understudy.adapters.nftables import Nft
from understudy.agent.nat_figures import counters_of, forecasts, noted_peak
from understudy.agent.nat_places import places_of
from understudy.agent.nat_view import View, clear, held_in_maps, view
from understudy.agent.pool_figures import Figures, ask_figures
from understudy.agent.pool_orders import give_back
from understudy.config.plan import IosLine, Plan
from understudy.core.allocation.records import Entry
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.ios.asking import read_asked, read_clearing
from understudy.ios.counted import print_pool, print_statistics
from understudy.ios.layout import check_layout
from understudy.ios.model import Configuration, Side
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import DEFAULT
from understudy.ios.reader import read_text
from understudy.ios.rows import packed
from understudy.ios.translations import Given
from understudy.render.ios_first import allocation, entries_text
from understudy.render.ios_nat import IosNat, render_ios_nat
from understudy.units import SECOND

ROWS_MAX = 20_000
"""Of one answer; the rest is counted."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a question is about. `given`: the lines as they stand in the node's file; `directory`: where its records
    are; both are missing where the question brings lines of its own.
    """

    configuration: Configuration
    profile: str
    given: tuple[IosLine, ...] = ()
    directory: Path | None = None
    strict: bool = False
    rotary_udp: bool = False


def answered(question: bytes, plan: Plan | None, directory: Path | None = None) -> dict[str, Any]:
    """`plan` is what the node runs, for a question that brings no lines of its own.

    What is wrong with a question is in `refused`: it is no failure of the node, and its journal has nothing of it.
    """
    try:
        return _answer(question, plan, directory)
    except OperatorError as error:
        return {"ok": False, "refused": {"code": error.code, "message": error.message, "hint": error.hint}}
    except EnvironmentFailure as error:
        return {"ok": False, "refused": {"code": "E9000", "message": str(error), "hint": ""}}


def _answer(question: bytes, plan: Plan | None, directory: Path | None) -> dict[str, Any]:
    try:
        asked = json.loads(question)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or asked.get("do") not in _ANSWERS:
        raise OperatorError("E7125", "not a question about NAT", f"`do` is one of {', '.join(_ANSWERS)}")
    known = _known(asked, plan, directory)
    configuration = known.configuration
    # Names of the kernel's interfaces do not matter here: what is wanted of it are pools and VRFs.
    nat = render_ios_nat(configuration, {each.name: each.name for each in configuration.interfaces}, {}, known.profile)
    # Of the allocator's process, if it runs here; a question that brings its own lines may mean other pools.
    figures = ask_figures() if nat.allocated else None
    verbose = asked["do"] == "translations" and read_asked(_words(asked)).verbose
    seen = view(configuration, nat, _aged(configuration, nat, figures) if verbose else None, ages=verbose)
    answer = _ANSWERS[asked["do"]](asked, _Seen(known, seen, nat, figures))
    return {"ok": True, "unread": seen.unread, "profile": known.profile, **answer}


@dataclass(frozen=True, slots=True)
class _Seen:
    known: _Known
    view: View
    nat: IosNat
    figures: Figures | None

    def note_peak(self) -> tuple[int, int]:
        """Every look counts."""
        return noted_peak(self.known.directory, len(self.view.rows))


def _known(asked: Mapping[str, Any], plan: Plan | None, directory: Path | None) -> _Known:
    text = asked.get("config")
    if isinstance(text, str):
        return _Known(read_text(text).configuration, str(asked.get("profile") or DEFAULT))
    if plan is None or plan.ios is None:
        hint = "give the lines with --config FILE.ios, or put them under `nat:` in the file"
        raise OperatorError("E7124", "the file that this node runs has no lines of NAT", hint)
    ios = plan.ios
    return _Known(ios.configuration, ios.profile, ios.said, directory, ios.strict, ios.rotary_udp)


def _aged(configuration: Configuration, nat: IosNat, figures: Figures | None) -> list[Given]:
    """Entries of the kernel's maps, with what the allocator knows of them."""
    settings = {each.number: each for each in allocation(nat.allocated, (), configuration.timeouts).pools}
    timeouts = {(each.pool, each.side is Side.OUTSIDE, each.extended): settings[each.number].timeout
                for each in nat.allocated}  # fmt: skip
    found = []
    for each in held_in_maps(nat.allocated):
        told = figures.entries.get((int(each.host), int(each.given))) if figures is not None else None
        if told is None:
            found.append(each)
            continue
        timeout = timeouts.get((each.pool, each.outside, each.extended))
        left = None if timeout is None or told.idle_s is None else max(0, timeout // SECOND - told.idle_s)
        found.append(replace(each, age_s=told.age_s, idle_s=told.idle_s, left_s=left))
    return found


def _words(asked: Mapping[str, Any]) -> list[str]:
    words = asked.get("words", [])
    return [str(word) for word in words] if isinstance(words, list) else []


def _translations(asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    rows = read_asked(_words(asked)).among(seen.view.rows)
    seen.note_peak()
    return {"rows": [packed(row) for row in rows[:ROWS_MAX]], "total": len(rows)}


def _table(_asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    """What `explain` wants of a running node."""
    text = print_configuration(seen.view.configuration)
    places = places_of(read_text(text), seen.known.given)
    return {
        "strict": seen.known.strict,
        "rotary_udp": seen.known.rotary_udp,
        "config": text,
        "places": [[line, *place] for line, place in places.items()],
        "rows": [packed(row) for row in seen.view.rows[:ROWS_MAX]],
        "total": len(seen.view.rows),
        "given": [[e.pool, str(e.host), str(e.given), e.outside, e.extended] for e in seen.view.given[:ROWS_MAX]],
    }


def _lines(_asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    return {"config": print_configuration(seen.known.configuration)}


def _statistics(asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    layout = check_layout(str(asked.get("layout", "A")))
    view, counters = seen.view, counters_of(seen.view, seen.nat, seen.figures, seen.note_peak())
    text = print_statistics(view.configuration, view.rows, view.given, counters, layout)
    return {"text": text, "forecasts": forecasts(seen.nat, seen.figures)}


def _pool(asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    name = str(asked.get("name", ""))
    text = print_pool(seen.view.configuration, name, seen.view.rows, seen.view.given)
    told = forecasts(seen.nat, seen.figures)
    return {"text": text, "forecasts": {name: told[name]} if name in told else {}}


def _clear(asked: Mapping[str, Any], seen: _Seen) -> dict[str, Any]:
    done = clear(seen.view, read_clearing(_words(asked)), partial(_release, seen.nat))
    return {"flows": done.flows, "entries": done.entries}


def _release(nat: IosNat, entries: Sequence[Given], everything: bool) -> list[Given]:
    """Those that went. Where the allocator says nothing no more of them are asked for: each would be waited for."""
    gone: list[Given] = []
    with contextlib.suppress(TimeoutError):
        if everything:
            went = give_back(None)
            return _taken(nat, entries) if went is None else list(entries) if went else []
        for number, each in enumerate(entries):
            went = give_back(int(each.given))
            if went is None:
                return gone + _taken(nat, entries[number:])
            if went:
                gone.append(each)
    return gone


def _taken(nat: IosNat, entries: Sequence[Given]) -> list[Given]:
    """Nobody hands out addresses here: what the maps hold is nobody's."""
    pools = {(each.pool, each.side is Side.OUTSIDE, each.extended): each for each in nat.allocated}
    gone = []
    with Nft() as nft:
        for each in entries:
            pool = pools.get((each.pool, each.outside, each.extended))
            if pool is None:
                continue
            with contextlib.suppress(EnvironmentFailure):  # it went by itself meanwhile
                nft.run(entries_text((pool,), (), (Entry(pool.number, int(each.host), int(each.given)),)))
                gone.append(each)
    return gone


_ANSWERS = {
    "translations": _translations,
    "statistics": _statistics,
    "pool": _pool,
    "table": _table,
    "lines": _lines,
    "clear": _clear,
}
