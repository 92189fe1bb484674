"""What may follow the words typed so far: for `?`, for the tab key, and for a command that is not complete."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.ios.grammar import Grammar, resolve
from understudy.ios.slots import Slot, Unfit

ENTER = "<cr>"
_TOKENS = {
    "an IPv4 address": "A.B.C.D",
    "a netmask": "A.B.C.D",
    "a netmask such as 255.255.255.0": "A.B.C.D",
    "a netmask or /LENGTH": "A.B.C.D or /nn",
    "a port (1-65535)": "<1-65535>",
    "a prefix length (1-32)": "<1-32>",
    "seconds (0-536870) or never": "<0-536870>",
    "a list: 1-2699 or a name": "<1-2699> or WORD",
    "more words": "LINE",
}
"""What a slot expects, and how IOS writes such a word in its help."""


@dataclass(frozen=True, slots=True)
class Following:
    """Keywords and kinds of words that fit next; `ends` if the line may end here."""

    keywords: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    ends: bool = False

    def beginning(self, word: str) -> tuple[str, ...]:
        """The keywords that a word begins."""
        return tuple(keyword for keyword in self.keywords if keyword.startswith(word.lower()))

    def lines(self, word: str = "") -> list[str]:
        """As IOS prints them; `word` is what was typed of the next one."""
        rows = [(keyword, "") for keyword in self.beginning(word)]
        if not word or not rows:
            rows += [(_TOKENS.get(slot, "WORD"), slot) for slot in self.slots]
        if self.ends and not word:
            rows.append((ENTER, ""))
        width = max((len(left) for left, _ in rows), default=0)
        return [f"  {left:{width}}  {right}".rstrip() for left, right in rows]


def following(grammar: Grammar, words: Sequence[str]) -> Following:
    """What may come behind whole words. Raises Unfit at a word that fits nowhere."""
    node, at = grammar.root, 0
    while at < len(words):
        keyword = resolve(node.keywords, words, at) if node.keywords else None
        if keyword is not None:
            node, at = node.keywords[keyword], at + 1
        elif node.slot is not None:
            _, slot, behind = node.slot
            taken = _taken(slot, words, at)
            if taken is None:
                return Following(slots=(slot.expected,))
            if slot.optional and slot.expected == "more words":
                return Following(slots=(slot.expected,), ends=True)
            node, at = behind, taken
        elif node.form is not None:
            return _options(node.options, words, at)
        else:
            raise Unfit(at, f"{words[at]!r}: expected {' or '.join(node.keywords)}")
    slots = (node.slot[1].expected,) if node.slot is not None else ()
    optional = node.slot is not None and node.slot[1].optional
    ends = (node.form is not None and not node.form.only_no) or optional
    return Following((*sorted(node.keywords), *node.options), slots, ends)


def _taken(slot: Slot, words: Sequence[str], at: int) -> int | None:
    """The place behind what a slot reads; None if it wants words that are not there yet. Raises Unfit."""
    try:
        return slot.read(words, at)[1]
    except Unfit as unfit:
        if unfit.index >= len(words):
            return None
        raise


def _options(options: dict[str, list[tuple[str, str | Slot]]], words: Sequence[str], at: int) -> Following:
    left = dict(options)
    while at < len(words):
        keyword = resolve(left, words, at)
        if keyword is None:
            raise Unfit(at, f"{words[at]!r}: expected {' or '.join(left) or 'no more words'}")
        pieces, at = left.pop(keyword), at + 1
        for _, piece in pieces[1:]:
            if at >= len(words):
                return Following((piece,), ()) if isinstance(piece, str) else Following((), (piece.expected,))
            taken = at + 1 if isinstance(piece, str) else _taken(piece, words, at)
            if taken is None:
                return Following(slots=(piece.expected,) if isinstance(piece, Slot) else ())
            at = taken
    return Following(tuple(left), (), ends=True)
