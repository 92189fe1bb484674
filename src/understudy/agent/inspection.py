"""What another file would mean for this node: every change with its verdict, the kernel's lines, the flows at stake.

And what is: whether the kernel holds what the file that runs says, and whether that file is on trial. Asked before a
change, and after each step of one. It changes nothing, and refuses nothing but a file with problems.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from understudy import __version__
from understudy.adapters.difference import kernel_difference
from understudy.adapters.nftables import Nft
from understudy.agent.at_stake import at_stake
from understudy.agent.draining import joined, told
from understudy.agent.hands import LOOSE
from understudy.agent.options import find_interfaces, find_node
from understudy.agent.reload import Change, compare
from understudy.agent.running import Running, render
from understudy.agent.trial import Trial
from understudy.config.plan import Plan
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render.diff import text_difference
from understudy.render.text import FAMILY_INET

LINES_MAX = 200
"""Of the kernel's differences; the rest is counted."""
_BLOCK = re.compile(r"^\t(?:set|map) ((?:virtual|services|servers|endpoints)\d) \{\n(.*?)^\t\}", re.M | re.S)
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)
_SLOT = re.compile(r"[+-]\s*(?:elements = \{ )?0x[0-9a-f]+ : 0x[0-9a-f]+,?(?: \})?")
_HEX = re.compile(r"0x0*(?=[0-9a-f])")


def inspected(running: Running, plan: Plan, trial: Trial, *, flows: bool = True) -> dict[str, Any]:
    """The answer. Raises OperatorError if the node could not run the file at all."""
    old = running.options
    changes = compare(old.plan, plan, old.node)
    anchor = trial.before or old
    ways_back = () if trial.restarts else compare(plan, anchor.plan, old.node)
    wanted = ""
    if plan != old.plan:
        find_interfaces(find_node(plan, old.node))
        draining = joined(old.draining, old.plan, plan, old.node, None)
        wanted = render(replace(old, plan=plan, draining=draining), running.interfaces, None).ruleset
    return {
        "ok": True,
        "node": old.node,
        "version": __version__,
        "file": str(old.file) if old.file is not None else None,
        "digest_old": running.digest,
        "digest_new": plan.digest.hex(),
        "same": plan == old.plan,
        "changed": [_plain(change) for change in changes],
        "way_back": all(change.verdict.live for change in ways_back),
        "kernel": _shortened(text_difference(running.config.ruleset, wanted)) if wanted else [],
        "missing": _shortened(tuple(_missing(running))),
        "trial_s": round(max(0.0, trial.deadline - time.monotonic()), 1) if trial.on else None,
        "flows": at_stake(old.plan, plan, old.node) if flows else None,
        "draining": told(old.progress_path, old.draining),
    }


def _plain(change: Change) -> dict[str, Any]:
    verdict = change.verdict
    return {"kind": change.kind, "words": change.words, "live": verdict.live, "because": verdict.because}


def _shortened(lines: tuple[str, ...]) -> list[str]:
    """Without the slots of the balancer: thousands, and a pure function of the number of servers."""
    telling = [line for line in lines if not _SLOT.fullmatch(line)]
    more = len(telling) - LINES_MAX
    return [*telling[:LINES_MAX], *([f"... and {more} lines more"] if more > 0 else [])]


def _missing(running: Running) -> Iterator[str]:
    """What the running file says and this kernel does not hold."""
    try:
        # Where flows are kept the core chooses this one, by what the node holds at the moment.
        sysctls = tuple(each for each in running.config.sysctls if each[0] != LOOSE)
        yield from kernel_difference(replace(running.config, sysctls=sysctls))
        with Nft() as nft:
            if not nft.holds(running.config.ruleset):
                yield "- a set, map or chain of the rule set"
            held = _elements(nft.list_table(FAMILY_INET, terse=False))
    except (EnvironmentFailure, OperatorError, OSError) as error:
        yield f"- the kernel's answer: {error}"
        return
    for name, elements in _elements(running.config.ruleset).items():
        yield from (f"- {each} in {name}" for each in sorted(elements - held.get(name, frozenset())))


def _elements(text: str) -> Mapping[str, frozenset[str]]:
    """By set or map: what it holds, as far as that is the file's and not the moment's."""
    found: dict[str, frozenset[str]] = {}
    for name, body in _BLOCK.findall(text):
        inside = _ELEMENTS.search(body)
        elements = inside[1].split(",") if inside else ()
        found[name] = frozenset(" ".join(_HEX.sub("0x", each).split()) for each in elements if each.strip())
    return found
