"""Command forms as a tree, and the one matcher that walks it.

A form is a pattern of words and slots, and options that may follow in any order, each once:

    ip nat [name <name:name>] inside source static <local:address> <global_:address>

Bare words are keywords: any prefix that fits one keyword at its place will do, as on a router, and a whole keyword
wins over longer ones. `<field:slot>` reads words (`ios/slots.py`) into a field of the model; `[...]` may be left out.
An option that begins with `~` is another spelling: read, never written. All forms of a mode share one tree, so that a
line is read once, in time linear in its words, and the first word that fits nowhere is the place of the error.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, NamedTuple

from understudy.ios.entries import ENTRY_SLOTS
from understudy.ios.slots import AMBIGUOUS, INCOMPLETE, INVALID, SLOTS, Slot, Unfit, is_placeholder

_SLOTS: Mapping[str, Slot] = {**SLOTS, **ENTRY_SLOTS}
_PIECE = re.compile(r"<([\w]+):([\w-]+)>")


@dataclass(frozen=True, slots=True)
class Form:
    """One command form. `make` builds the model's value from fields; `fixed` are fields that the form itself says."""

    pattern: str
    make: Callable[..., Any]
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    """Options that make sense only beside another: `match_in_vrf` beside `vrf`."""
    only_no: bool = False
    """A short form that only `no` has."""
    keeps_words: bool = False
    """The value is made of the canonical words after `ip nat`, not of fields."""


class Match(NamedTuple):
    """A line that fits; `places` says at which word each field stood. A tuple with names, as `words.Command` is."""

    form: Form
    values: Mapping[str, Any]
    places: Mapping[str, int]
    said: Sequence[str | tuple[Slot, Any]]
    """Keywords, and values with the slots that write them."""

    @property
    def words(self) -> tuple[str, ...]:
        """The line in canonical words: written where somebody asks for it, since few do."""
        written = (each if isinstance(each, str) else each[0].write(each[1]) for each in self.said)
        return tuple(" ".join(written).split())

    def build(self, **more: Any) -> Any:
        """The value of the model that the form makes."""
        if self.form.keeps_words:
            return self.form.make(self.words[2:])
        return self.form.make(**self.form.fixed, **self.values, **more)


@dataclass(slots=True)
class _Node:
    keywords: dict[str, "_Node"] = field(default_factory=dict)
    beginnings: set[str] = field(default_factory=set)
    """Of all keywords: what stands here is none of them, in short or in full."""
    slot: tuple[str, Slot, "_Node"] | None = None
    form: Form | None = None
    options: dict[str, list[tuple[str, str | Slot]]] = field(default_factory=dict)


class Grammar:
    """The forms of one mode."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self.forms = tuple(forms)
        self._root = _Node()
        self._writers: dict[Callable[..., Any], list[Form]] = {}
        for form in self.forms:
            for pattern in _expanded(form.pattern):
                self._plant(form, pattern)
            if not form.only_no:
                self._writers.setdefault(form.make, []).append(form)

    def _plant(self, form: Form, pattern: str) -> None:
        node = self._root
        for name, piece in _pieces(pattern):
            if isinstance(piece, str):
                node.beginnings.update(piece[:length] for length in range(1, len(piece) + 1))
                node = node.keywords.setdefault(piece, _Node())
                continue
            if node.slot is None:
                node.slot = (name, piece, _Node())
            assert node.slot[:2] == (name, piece), f"{pattern}: two slots at one place"
            node = node.slot[2]
        assert node.form is None or form.only_no or node.form.only_no, f"{pattern}: two forms"
        if node.form is None or node.form.only_no:
            node.form = form
        for option in form.options:
            pieces = _pieces(option.removeprefix("~"))
            node.options[str(pieces[0][1])] = pieces

    @property
    def root(self) -> _Node:
        """Where every line begins: for whoever says what may follow (`ios.shell_help`)."""
        return self._root

    def match(self, words: Sequence[str], *, negated: bool = False) -> Match:
        """Read a whole line. Raises Unfit at the first word that fits nowhere."""
        node = self._root
        at = 0
        values: dict[str, Any] = {}
        places: dict[str, int] = {}
        said: list[str | tuple[Slot, Any]] = []
        count = len(words)
        while True:
            if at < count:
                keyword: str | None = words[at]
                if keyword not in node.keywords:
                    keyword = resolve(node.keywords, words, at) if words[at].lower() in node.beginnings else None
                if keyword is not None:
                    said.append(keyword)
                    node = node.keywords[keyword]
                    at += 1
                    continue
            form = node.form if negated or node.form is None or not node.form.only_no else None
            if node.slot is not None and (at < count or (node.slot[1].optional and form is None)):
                name, slot, behind = node.slot
                places[name] = at
                value, at = slot.read(words, at)
                if value is not None:
                    values[name] = value
                    said.append((slot, value))
                node = behind
                continue
            if form is None:
                raise _stuck(node, words, at)
            if at < count:
                self._options(node, words, at, values, places, said)
                _check_needs(form, values, places)
            return Match(form, values, places, said)

    def _options(
        self,
        node: _Node,
        words: Sequence[str],
        at: int,
        values: dict[str, Any],
        places: dict[str, int],
        said: list[str | tuple[Slot, Any]],
    ) -> None:
        while at < len(words):
            keyword = resolve(node.options, words, at)
            if keyword is None:
                raise _stuck(node, words, at)
            pieces = node.options[keyword]
            begin = at
            name = pieces[0][0] if len(pieces) == 1 else pieces[-1][0]
            if name in values:
                raise Unfit(at, f"{keyword} for the second time")
            at += 1
            said.append(keyword)
            if len(pieces) == 1:
                values[name] = True
            for piece_name, piece in pieces[1:]:
                if isinstance(piece, str):
                    if at >= len(words) or not piece.startswith(words[at].lower()):
                        raise Unfit(at, f"expected {piece}", INCOMPLETE if at >= len(words) else INVALID)
                    said.append(piece)
                    at += 1
                else:
                    values[piece_name], at = piece.read(words, at)
                    said.append((piece, values[piece_name]))
            places[name] = begin

    def write(self, value: Any, *, apart: frozenset[str] = frozenset()) -> str:
        """The canonical line of a value that one of the forms makes. Fields in `apart` are said elsewhere."""
        made: Any = type(value)
        held = frozenset(name for name, default in _defaults(made) if getattr(value, name) != default) - apart
        for form in self._writers.get(made, ()):
            if (line := _written(form, value, held)) is not None:
                return line
        raise AssertionError(f"no form writes {value!r}")


_SELDOM = frozenset(("portmap", "piggyback-support", "sip-sbc"))
"""Words of few releases: elsewhere `po` is `pool`."""


def resolve(keywords: Mapping[str, Any], words: Sequence[str], at: int) -> str | None:
    """The keyword that a word means here: itself, or the only one it is a prefix of. Raises Unfit if several fit."""
    word = words[at].lower()
    if word in keywords:
        return word
    fits = [keyword for keyword in keywords if keyword.startswith(word)]
    if len(fits) > 1:
        fits = [keyword for keyword in fits if keyword not in _SELDOM] or fits
    if len(fits) > 1:
        raise Unfit(at, f"{words[at]!r} may be {', '.join(sorted(fits))}", AMBIGUOUS.format(" ".join(words[: at + 1])))
    return fits[0] if fits else None


def _stuck(node: _Node, words: Sequence[str], at: int) -> Unfit:
    expected = [*node.keywords, *node.options]
    if node.slot is not None:
        expected.append(node.slot[1].expected)
    wanted = " or ".join(expected) if len(expected) <= 12 else f"{', '.join(expected[:12])} ..."
    if at >= len(words):
        return Unfit(at, f"expected {wanted}", INCOMPLETE)
    if is_placeholder(words[at], name=True) or (node.slot is None and not node.keywords and words[at][:1] in "[<{("):
        return Unfit(at, f"{words[at]!r} stands for something to choose: write a command", placeholder=True)
    if not wanted:
        return Unfit(at, f"nothing may follow: {words[at]!r}")
    return Unfit(at, f"{words[at]!r}: expected {wanted}")


def _check_needs(form: Form, values: Mapping[str, Any], places: Mapping[str, int]) -> None:
    for name, needed in form.needs.items():
        if name in values and needed not in values:
            raise Unfit(places[name], f"{name.replace('_', '-')} needs {needed.replace('_', '-')}")


def _expanded(pattern: str) -> list[str]:
    """The pattern with and without what stands in brackets."""
    found = re.search(r"\[([^\]]*)\] ?", pattern)
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [each for middle in ("", f"{found[1]} ") for each in _expanded(f"{before}{middle}{after}")]


@cache
def _pieces(pattern: str) -> list[tuple[str, str | Slot]]:
    """(field, keyword or slot) of each word; a keyword's field is its own name."""
    found: list[tuple[str, str | Slot]] = []
    for word in pattern.split():
        slot = _PIECE.fullmatch(word)
        found.append((slot[1], _SLOTS[slot[2]]) if slot else (word.replace("-", "_"), word))
    return found


def _written(form: Form, value: Any, held: frozenset[str]) -> str | None:
    """The line of this form, or None where it cannot say all that the value holds: fields in `held`."""
    if any(getattr(value, name) != fixed for name, fixed in form.fixed.items()):
        return None
    left = set(held - form.fixed.keys())
    line: list[str] = []
    for optional, pieces in _parts(form.pattern):
        if optional and not any(name in left for name, piece in pieces if isinstance(piece, Slot)):
            continue
        for name, piece in pieces:
            if isinstance(piece, str):
                line.append(piece)
                continue
            content = getattr(value, name)
            if content is None and not piece.optional:
                return None
            line.append(piece.write(content) if content is not None else "")
            left.discard(name)
    for option in form.options if left else ():
        pieces = _pieces(option)
        name = pieces[-1][0]
        if option[0] != "~" and name in left:
            line += [p if isinstance(p, str) else p.write(getattr(value, name)) for _, p in pieces]
            left.discard(name)
    return " ".join(filter(None, line)) if not left else None


@cache
def _parts(pattern: str) -> list[tuple[bool, list[tuple[str, str | Slot]]]]:
    """Pieces of a pattern, those in brackets together; whether they may be left out."""
    return [(part[0] == "[", _pieces(part.strip("[]"))) for part in re.findall(r"\[[^\]]*\]|<[^>]*>|\S+", pattern)]


@cache
def _defaults(made: Hashable) -> list[tuple[str, Any]]:
    """Fields of a value and what they hold where nothing is said."""
    return [(each.name, each.default) for each in fields(made)]  # type: ignore[arg-type]  # a dataclass
