"""What is asked of a node's NAT, answered by the process that reads orders (agent.loading): show and clear.

    question   JSON: {"do": "translations" | "statistics" | "pool" | "table" | "clear", ...}
    answer     plain values; rows packed (ios.rows), at most ROWS_MAX of them

The core has no part in it: listing a flow table takes as long as it takes.
"""

import json
from collections.abc import Mapping
from typing import Any

from understudy.adapters.nftables import Nft
from understudy.agent.nat_view import View, clear, view
from understudy.agent.pool_orders import give_back
from understudy.config.plan import Plan
from understudy.core.allocation.records import Entry
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.ios.asking import read_asked, read_clearing
from understudy.ios.counted import print_pool, print_statistics
from understudy.ios.layout import check_layout
from understudy.ios.model import Configuration
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import DEFAULT
from understudy.ios.reader import read_text
from understudy.ios.rows import packed
from understudy.ios.translations import Given
from understudy.render.ios_first import entries_text
from understudy.render.ios_nat import IosNat, render_ios_nat

ROWS_MAX = 20_000
"""Of one answer; the rest is counted."""


def answered(question: bytes, plan: Plan | None) -> dict[str, Any]:
    """`plan` is what the node runs, for a question that brings no lines of its own.

    What is wrong with a question is in `refused`: it is no failure of the node, and its journal has nothing of it.
    """
    try:
        return _answer(question, plan)
    except OperatorError as error:
        return {"ok": False, "refused": {"code": error.code, "message": error.message, "hint": error.hint}}
    except EnvironmentFailure as error:
        return {"ok": False, "refused": {"code": "E9000", "message": str(error), "hint": ""}}


def _answer(question: bytes, plan: Plan | None) -> dict[str, Any]:
    try:
        asked = json.loads(question)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or asked.get("do") not in _ANSWERS:
        raise OperatorError("E7125", "not a question about NAT", f"`do` is one of {', '.join(_ANSWERS)}")
    configuration, profile = _configuration(asked, plan)
    # Names of the kernel's interfaces do not matter here: what is wanted of it are pools and VRFs.
    nat = render_ios_nat(configuration, {each.name: each.name for each in configuration.interfaces}, {}, profile)
    seen = view(configuration, nat)
    answer = _ANSWERS[asked["do"]](asked, seen, nat)
    return {"ok": True, "unread": seen.unread, "profile": profile, **answer}


def _configuration(asked: Mapping[str, Any], plan: Plan | None) -> tuple[Configuration, str]:
    text = asked.get("config")
    if isinstance(text, str):
        return read_text(text).configuration, str(asked.get("profile") or DEFAULT)
    if plan is None or plan.ios is None:
        hint = "give the lines with --config FILE.ios, or put them under `nat:` in the file"
        raise OperatorError("E7124", "the file that this node runs has no lines of NAT", hint)
    return plan.ios.configuration, plan.ios.profile


def _words(asked: Mapping[str, Any]) -> list[str]:
    words = asked.get("words", [])
    return [str(word) for word in words] if isinstance(words, list) else []


def _translations(asked: Mapping[str, Any], seen: View, _nat: IosNat) -> dict[str, Any]:
    rows = read_asked(_words(asked)).among(seen.rows)
    return {"rows": [packed(row) for row in rows[:ROWS_MAX]], "total": len(rows)}


def _table(_asked: Mapping[str, Any], seen: View, _nat: IosNat) -> dict[str, Any]:
    """What `explain` wants of a running node."""
    return {
        "config": print_configuration(seen.configuration),
        "rows": [packed(row) for row in seen.rows[:ROWS_MAX]],
        "total": len(seen.rows),
        "given": [[e.pool, str(e.host), str(e.given), e.outside, e.extended] for e in seen.given[:ROWS_MAX]],
    }


def _statistics(asked: Mapping[str, Any], seen: View, _nat: IosNat) -> dict[str, Any]:
    layout = check_layout(str(asked.get("layout", "A")))
    return {"text": print_statistics(seen.configuration, seen.rows, seen.given, layout=layout)}


def _pool(asked: Mapping[str, Any], seen: View, _nat: IosNat) -> dict[str, Any]:
    return {"text": print_pool(seen.configuration, str(asked.get("name", "")), seen.rows, seen.given)}


def _clear(asked: Mapping[str, Any], seen: View, nat: IosNat) -> dict[str, Any]:
    pools = {(each.pool, each.side.value == "outside", each.extended): each for each in nat.allocated}
    with Nft() as nft:

        def release(entry: Given) -> None:
            pool = pools.get((entry.pool, entry.outside, entry.extended))
            if pool is None:
                return
            if give_back(int(entry.given)):
                return
            gone = Entry(pool.number, int(entry.host), int(entry.given))
            try:
                nft.run(entries_text((pool,), (), (gone,)))
            except EnvironmentFailure:
                return  # it went by itself meanwhile

        done = clear(seen, read_clearing(_words(asked)), release)
    return {"flows": done.flows, "entries": done.entries}


_ANSWERS = {
    "translations": _translations,
    "statistics": _statistics,
    "pool": _pool,
    "table": _table,
    "clear": _clear,
}
