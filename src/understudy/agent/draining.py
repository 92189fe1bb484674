"""Translations that a node's file does not say any more, and that live flows still use: remembered until these ended.

A flow's translation is in conntrack and outlives its rule. What it needs besides is that somebody answers for the
address that it was given, so a node that takes a file without a rule keeps a `Former`: how to tell its flows, the
addresses to answer for, and until when. It is stored before the file is taken and read when an agent begins: a restart
or a fail-over in the middle goes on with it. Both nodes of a pair have it, since both took the file.

    no bound    its flows go on until they end by themselves
    a bound     what is left of them then is ended, on each node by itself
    now         a bound that has passed when the file is for good

The bound is on the clock of the boot, which a step of the wall clock does not move. After a reboot what was left of it
when it was stored begins anew.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network, summarize_address_range
from pathlib import Path
from typing import Any, Final

from understudy.agent.nat_standing import IosRules, Standing, headed, text_of
from understudy.config.plan import Plan, SourceNat
from understudy.config.replaced import replace_file
from understudy.ios.printer import print_configuration
from understudy.render.ios_pair import PairNat, StillHeld, render_pair
from understudy.render.node import default_interfaces
from understudy.units import GroupName, NetworkName, NodeName

FORMERS_MAX: Final = 16
"""Changes whose flows are told apart; of more the oldest is forgotten, and its flows live as long as they can."""
LINES_MAX: Final = 20
"""Of what went, kept for people."""
ENDED_TOLD_S: Final = 3600.0
DRAIN_S_MAX: Final = 7 * 86_400.0
_SIZE_MAX: Final = 64 << 20
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Former:
    """What a file said of translations before another one took its place."""

    lines: tuple[str, ...]
    """What went, as far as it is shown."""
    group: str
    """Whose addresses `held` are; empty if there are none."""
    held: tuple[tuple[str, tuple[str, ...]], ...]
    """By network: prefixes that the group goes on answering for."""
    source_nat: tuple[SourceNat, ...]
    ios: str
    """Lines of IOS in canonical form; empty for none."""
    profile: str
    until: float | None
    """Seconds of `clock`; None: without bound."""

    def standing(self) -> Standing:
        return Standing(self.source_nat, IosRules(self.ios, self.profile) if self.ios else None)


Draining = tuple[Former, ...]
"""The oldest first."""


def clock() -> float:
    """Seconds since this machine booted, suspended or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def translations(plan: Plan) -> frozenset[str]:
    """What a file says of translating, a line each; timeouts, limits and services end no flow."""
    found = {f"{each.source} to {each.to} as {address}" for each in plan.source_nat for address in each.addresses}
    if plan.ios is not None:
        bare = replace(
            plan.ios.configuration, interfaces=(), timeouts=(), port_timeouts=(), limits=(), directives=(), routes=()
        )
        found.update(line for line in headed(print_configuration(bare)) if line != "!")
    return frozenset(found)


def joined(draining: Draining, old: Plan, new: Plan, node: NodeName, drain_s: float | None) -> Draining:
    """What is to be remembered once `new` is in the place of `old`. `drain_s`: how long its flows may go on."""
    said, says = translations(old), translations(new)
    kept = tuple(each for each in draining if not says.issuperset(each.lines) or len(each.lines) >= LINES_MAX)
    gone = sorted(said - says)
    if not gone:
        return kept
    until = None if drain_s is None else clock() + min(max(drain_s, 0.0), DRAIN_S_MAX)
    group, held = _held(old, new, node)
    fresh = Former(
        tuple(gone[:LINES_MAX]),
        group,
        held,
        old.source_nat,
        text_of(old.ios) if old.ios is not None else "",
        old.ios.profile if old.ios is not None else "classic",
        until,
    )
    return (*kept, fresh)[-FORMERS_MAX:]


def _held(old: Plan, new: Plan, node: NodeName) -> tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """What the group answers for by the old file alone, without what a machine of the new file has for its own."""
    before, after = _pair(old, node), _pair(new, node)
    if before is None:
        return "", ()
    own = {address.ip for each in new.nodes for port in each.attachments for address in port.addresses}
    own |= {address.ip for group in new.groups for router in group.routers for address in router.addresses}
    taken = [IPv4Network(address) for address in own if isinstance(address, IPv4Address)]
    found = []
    for network, prefixes in before.held.items():
        still = after.held.get(network, ()) if after is not None and after.group.name == before.group.name else ()
        left = _without(prefixes, (*taken, *still))
        if left:
            found.append((str(network), tuple(map(str, left))))
    return str(before.group.name) if found else "", tuple(found)


def _pair(plan: Plan, node: NodeName) -> PairNat | None:
    groups = [group for group in plan.groups if node in group.nodes]
    return render_pair(plan, groups, default_interfaces(plan, node)) if groups else None


def _without(prefixes: Iterable[IPv4Network], holes: Iterable[IPv4Network]) -> list[IPv4Network]:
    """The same addresses but for those in the holes: two sorted lists, walked once."""
    spans = sorted((int(each[0]), int(each[-1])) for each in holes)
    found: list[IPv4Network] = []
    at = 0
    for each in sorted(prefixes):
        first, last = int(each[0]), int(each[-1])
        while at < len(spans) and spans[at][1] < first:
            at += 1
        number = at
        while first <= last and number < len(spans) and spans[number][0] <= last:
            begin, end = spans[number]
            if first < begin:
                found += summarize_address_range(IPv4Address(first), IPv4Address(begin - 1))
            first, number = max(first, end + 1), number + 1
        if first <= last:
            found += summarize_address_range(IPv4Address(first), IPv4Address(last))
    return found


def still_held(draining: Draining) -> StillHeld | None:
    """What the group of the last file with lines goes on answering for."""
    group = next((each.group for each in reversed(draining) if each.held), "")
    found: dict[NetworkName, list[IPv4Network]] = {}
    for each in draining:
        for network, prefixes in each.held if each.group == group else ():
            found.setdefault(NetworkName(network), []).extend(map(IPv4Network, prefixes))
    held = {network: tuple(prefixes) for network, prefixes in found.items()}
    return StillHeld(GroupName(group), held) if held else None


# --- the file


def load(path: Path) -> Draining:
    """What was stored; nothing if that is missing or damaged."""
    try:
        if path.stat().st_size > _SIZE_MAX:
            return ()
        values = json.loads(path.read_text())
        formers = tuple(map(_former, values["formers"]))[-FORMERS_MAX:]
        later = 0.0 if values["boot"] == _boot() else clock() - float(values["at"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(each if each.until is None else replace(each, until=each.until + later) for each in formers)


def _boot() -> str:
    return _BOOT_ID.read_text().strip()


def save(path: Path, draining: Draining) -> None:
    """Raises OSError; the old content stays then."""
    if load(path) == draining:
        return
    replace_file(path, json.dumps({"boot": _boot(), "at": clock(), "formers": list(map(_plain, draining))}))


def _plain(former: Former) -> dict[str, Any]:
    rules = [
        {
            "source": each.source, "to": each.to, "group": each.group,
            "prefixes": list(map(str, each.prefixes)), "addresses": list(map(str, each.addresses)),
        }
        for each in former.source_nat
    ]  # fmt: skip
    names = ("lines", "group", "held", "ios", "profile", "until")
    return {**{name: getattr(former, name) for name in names}, "source_nat": rules}


def _former(values: Mapping[str, Any]) -> Former:
    rules = (
        SourceNat(
            NetworkName(each["source"]), NetworkName(each["to"]), GroupName(each["group"]),
            tuple(map(ip_network, each["prefixes"])), tuple(map(ip_address, each["addresses"])),
        )
        for each in values["source_nat"]
    )  # fmt: skip
    return Former(
        _strings(values["lines"]),
        str(values["group"]),
        tuple((str(network), _strings(prefixes)) for network, prefixes in values["held"]),
        tuple(rules),
        str(values["ios"]),
        str(values["profile"]),
        None if values["until"] is None else float(values["until"]),
    )


def _strings(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, values))


# --- what is told of it


def write_progress(path: Path, progress: Mapping[str, Any]) -> None:
    """For whoever asks for the node's status; no loss if it cannot be written. A small file in memory."""
    temporary = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(progress))
        os.replace(temporary, path)


def told(path: Path, draining: Draining) -> dict[str, Any]:
    """`draining`: what drains, with its flows as the last look saw them; `ended`: what was ended lately."""
    try:
        found = json.loads(path.read_text())
        left = {_strings(each["lines"]): each["left"] for each in found["draining"]}
        ended = [each for each in found["ended"] if time.time() - each["at"] < ENDED_TOLD_S]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        left, ended = {}, []
    return {"draining": described(draining, [left.get(each.lines) for each in draining]), "ended": ended}


def described(draining: Sequence[Former], left: Sequence[int | None]) -> list[dict[str, Any]]:
    """What drains; `left`: by each its flows, None if nobody can tell."""
    now = clock()
    return [
        {
            "lines": list(former.lines),
            "left": number,
            "ends_in_s": None if former.until is None else round(max(0.0, former.until - now), 1),
        }
        for former, number in zip(draining, left, strict=True)
    ]
