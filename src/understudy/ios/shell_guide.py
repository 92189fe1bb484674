"""Help and completion at a prompt: which grammar counts there, and which names are known."""

from dataclasses import dataclass, replace

from understudy.ios import asking
from understudy.ios.grammar import resolve
from understudy.ios.running import Running
from understudy.ios.shell_grammar import BLOCKS, CONFIG, EXEC, Block
from understudy.ios.shell_help import Following, following
from understudy.ios.slots import Unfit

_MORE = {
    "translations": (*sorted(asking.SHOWN), "|"),
    "clear": ("*", "forced", "inside", "outside", "tcp", "udp", "vrf"),
    "explain": ("in", "local", "out"),
    "running": ("|",),
    "startup": ("|",),
    "statistics": ("|",),
    "pool": ("|",),
}
"""Words behind a command that other readers read."""
_WANTING = frozenset(("clear", "explain"))
"""Those of them that are nothing without such a word."""


@dataclass(frozen=True, slots=True)
class Guide:
    """Where the prompt stands."""

    configuring: bool
    block: Block | None
    networks: tuple[str, ...]
    running: Running

    def help(self, typed: str) -> list[str]:
        """Lines for `?`."""
        before, last = _cut(typed)
        try:
            found = self._following(before)
        except Unfit as unfit:
            return [unfit.message or f"% {unfit}"]
        return found.lines(last) or ["% Unrecognized command"]

    def complete(self, typed: str) -> list[str]:
        """Whole words for the tab key."""
        before, last = _cut(typed)
        try:
            found = self._following(before)
        except Unfit:
            return []
        names = [name for slot in found.slots for name in self._names_of(slot, before)]
        return [f"{word} " for word in (*found.beginning(last), *names) if word.lower().startswith(last.lower())]

    def _names_of(self, slot: str, before: tuple[str, ...]) -> tuple[str, ...]:
        """What is called by such a word."""
        if slot == "an interface":
            return self.networks
        if slot.startswith("a list"):
            return tuple(self.running.lists)
        if slot == "a name" and before and before[-1].lower() in ("pool", "name"):
            return tuple(self.running.pools)
        return tuple(self.running.route_maps) if slot == "a name" and before and before[-1] == "route-map" else ()

    def _following(self, before: tuple[str, ...]) -> Following:
        if not self.configuring:
            return _executing(before)
        first = resolve(CONFIG.root.keywords, before, 0) if before and before[0].lower() != "no" else None
        if first in ("do", "show"):
            return _executing(before[1:] if first == "do" else before)
        negated = before[:1] == ("no",)
        rest = before[1:] if negated else before
        inner = self._within(rest)
        if inner is not None and before:
            return inner
        outer = self._without(rest)
        keywords = {*outer.keywords, *(inner.keywords if inner is not None else ())} | ({"no"} if not before else set())
        return replace(outer, keywords=tuple(sorted(keywords)), slots=(inner or outer).slots)

    def _within(self, rest: tuple[str, ...]) -> Following | None:
        """In the open block; None where the words are none of its."""
        if self.block is None:
            return None
        try:
            numbered = self.block.list_ and rest[:1] and rest[0].isdecimal()
            return following(self.block.grammar, rest[1:] if numbered else rest)
        except Unfit:
            return None

    def _without(self, rest: tuple[str, ...]) -> Following:
        """In global configuration, where a numbered list's entry follows its number."""
        if len(rest) > 1 and rest[1].isdecimal() and "access-list".startswith(rest[0].lower()):
            entry = following(BLOCKS["extended" if _extended(rest[1]) else "standard"].grammar, rest[2:])
            return replace(entry, keywords=tuple(word for word in entry.keywords if rest[2:] or word == "remark"))
        return following(CONFIG, rest)


def _executing(before: tuple[str, ...]) -> Following:
    found = following(EXEC, before)
    if found.slots == ("more words",):
        order = EXEC.match(before).build()
        if order.what in _MORE:
            ends = found.ends and (order.what not in _WANTING or bool(order.values.get("words")))
            return Following(_MORE[order.what], (), ends)
    return found


def _cut(typed: str) -> tuple[tuple[str, ...], str]:
    """Whole words, and the one that is still being typed."""
    found = tuple(typed.split())
    if typed[-1:].isspace() or not found:
        return found, ""
    return found[:-1], found[-1]


def _extended(number: str) -> bool:
    return 100 <= int(number[:9]) <= 199 or 2000 <= int(number[:9]) <= 2699
