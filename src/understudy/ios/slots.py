"""What a word of a command must be. A slot reads one or more words and says why they will not do; it also writes.

Reading raises Unfit: `index` is the word at fault, `expected` what could stand there. A word that stands for a value
(`<inside-ip>`, `x.x.x.x`, `START_IP`) is a placeholder, told apart from a mistake.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from understudy.ios import names
from understudy.ios.model import NEVER

INVALID = "% Invalid input detected at '^' marker."


class Unfit(Exception):
    """Words that do not fit. `message` is what IOS says; empty where its words are not known."""

    def __init__(self, index: int, reason: str, message: str = INVALID, *, placeholder: bool = False) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason
        self.message = message
        self.placeholder = placeholder


INCOMPLETE = "% Incomplete command."
AMBIGUOUS = '% Ambiguous command:  "{}"'

Reader = Callable[[Sequence[str], int], tuple[Any, int]]
"""Words and a place -> value (its type is the slot's own) and the place behind it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One kind of word. `write` gives canonical text for a value."""

    expected: str
    read: Reader
    write: Callable[[Any], str] = str
    optional: bool = False
    """May take no word at all; it then gives None."""


ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}", re.ASCII)
_OCTETS = {f"{number:0{width}}": number for width in (1, 2, 3) for number in range(256) if number < 10**width}
"""Every way to write one; 010 is ten, as IOS counts."""
_DOTTED = re.compile(r"[0-9a-zA-Z*?#_+-]{1,16}(?:\.[0-9a-zA-Z*?#_+-]{1,16}){3}(?:/\S+)?", re.ASCII)
_MARKED = re.compile(r"[<>{}\[\]|$]|%\w+%|\.\.\.|…|\?\?")
_BLANK = re.compile(r"__|\bx{2,}\b", re.IGNORECASE)
_HINTED = re.compile(
    r"(?:^|[^a-z])(?:ip|addr|address|local|global|mask|netmask|wildcard|port|start|end|first|last|name|pool|acl|number|"
    r"your|here|host|public|private|prefix|length|seconds|interface|int|server|wan|lan)(?:[^a-z]|$|\d)"
)
_UNKNOWN = frozenset(("x", "y", "z", "n", "#", "*", "?"))
_LETTERS = re.compile(r"[A-Z][A-Z0-9]*(?:[-_.][A-Z0-9]+)*", re.ASCII)


def is_placeholder(word: str, *, name: bool = False) -> bool:
    """Whether a word stands for a value to be filled in. Where a name may stand (`name`), only marks count."""
    if _MARKED.search(word):
        return True
    if name:
        return False
    if _BLANK.search(word):
        return True
    if _DOTTED.fullmatch(word):
        return any(part.isalpha() or part in ("*", "?", "#") for part in word.partition("/")[0].split("."))
    if not any(letter.isalpha() for letter in word):
        return False
    return bool(_LETTERS.fullmatch(word)) or bool(_HINTED.search(word.lower()))


def word_at(words: Sequence[str], at: int, expected: str) -> str:
    if at >= len(words):
        raise Unfit(at, f"expected {expected}", INCOMPLETE)
    return words[at]


def wrong(words: Sequence[str], at: int, expected: str, why: str = "") -> Unfit:
    word = words[at]
    if is_placeholder(word):
        return Unfit(at, f"{word!r} stands for a value: put {expected} there", placeholder=True)
    return Unfit(at, why or f"{word!r} is not {expected}")


def unless_placeholder(read: Callable[[], Any]) -> Any:
    """A value, or None where it does not fit; a placeholder stays an error."""
    try:
        return read()
    except Unfit as unfit:
        if unfit.placeholder:
            raise
        return None


def read_address(words: Sequence[str], at: int, expected: str = "an IPv4 address") -> tuple[IPv4Address, int]:
    word = word_at(words, at, expected)
    try:
        one, two, three, four = word.split(".")
        number = _OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four]
    except (ValueError, KeyError):  # not four parts; a part that is no octet
        raise _no_address(words, at, expected) from None
    return IPv4Address(number), at + 1


def _no_address(words: Sequence[str], at: int, expected: str) -> Unfit:
    word = words[at]
    if ADDRESS.fullmatch(word):
        return wrong(words, at, expected, f"{word}: an octet is above 255")
    if word.count(".") != 3 and re.fullmatch(r"[\d.]+", word):
        return wrong(words, at, expected, f"{word}: an IPv4 address has four numbers")
    return wrong(words, at, expected)


def _mask_length(address: IPv4Address) -> int | None:
    inverted = 0xFFFFFFFF ^ int(address)
    return 32 - inverted.bit_length() if inverted & (inverted + 1) == 0 else None


def read_mask(words: Sequence[str], at: int) -> tuple[int, int]:
    """A netmask such as 255.255.255.0, as a length."""
    address, behind = read_address(words, at, "a netmask such as 255.255.255.0")
    length = _mask_length(address)
    if length is None or length == 0:
        raise Unfit(at, f"{words[at]} is not a netmask: its ones are not in one piece")
    return length, behind


def read_network_length(words: Sequence[str], at: int) -> tuple[int, int]:
    """`255.255.255.0` or `/24`."""
    word = word_at(words, at, "a netmask or /LENGTH")
    if word[0] == "/" and word[1:].isdecimal() and word.isascii():
        if 1 <= int(word[1:]) <= 32:
            return int(word[1:]), at + 1
        raise Unfit(at, f"{word}: a prefix length is 1 to 32")
    return read_mask(words, at)


def integer(low: int, high: int, what: str) -> Slot:
    """A decimal number from `low` to `high`."""
    expected = f"{what} ({low}-{high})"

    def read(words: Sequence[str], at: int) -> tuple[int, int]:
        word = word_at(words, at, expected)
        if not (word.isascii() and word.isdecimal() and len(word) <= 10):
            raise wrong(words, at, expected)
        if not low <= int(word) <= high:
            raise Unfit(at, f"{word} is not {expected}")
        return int(word), at + 1

    return Slot(expected, read)


def _read_seconds(words: Sequence[str], at: int) -> tuple[int, int]:
    expected = "seconds (0-536870) or never"
    word = word_at(words, at, expected)
    if len(word) >= 1 and "never".startswith(word.lower()):
        return NEVER, at + 1
    value, behind = _SECONDS.read(words, at)
    return int(value), behind


_SECONDS = integer(0, 536870, "seconds or never")


def read_name(words: Sequence[str], at: int) -> tuple[str, int]:
    word = word_at(words, at, "a name")
    if is_placeholder(word, name=True):
        raise wrong(words, at, "a name")
    return word, at + 1


def _read_list(words: Sequence[str], at: int) -> tuple[str, int]:
    expected = "a list: 1-2699 or a name"
    word = word_at(words, at, expected)
    if is_placeholder(word, name=True):
        raise wrong(words, at, expected)
    if word.isascii() and word.isdecimal():
        if len(word) > 9 or not 1 <= int(word) <= 2699:
            raise Unfit(at, f"{word} is not {expected}")
        return str(int(word)), at + 1
    return word, at + 1


def _read_interface(words: Sequence[str], at: int) -> tuple[str, int]:
    expected = "an interface"
    word = word_at(words, at, expected)
    if is_placeholder(word, name=True):
        raise wrong(words, at, expected)
    if word.isalpha() or word.rstrip("-").replace("-", "").isalpha():
        kind = names.interface_type(word)
        follows = words[at + 1] if at + 1 < len(words) else ""
        if kind and names.NUMBER.fullmatch(follows):  # `GigabitEthernet 0/1`
            return f"{kind}{follows}", at + 2
        if kind and (kind.lower() == word.lower() or _is_cut(word, kind)):
            raise Unfit(at + 1, f"expected the number of the {kind} interface", INCOMPLETE)
    if any(part in _UNKNOWN for part in word.lower().split("/")[1:]):  # g0/x
        raise Unfit(at, f"{word!r} stands for a value: put {expected} there", placeholder=True)
    name = names.interface_name(word)
    if name is None:
        raise wrong(words, at, expected)
    return name, at + 1


_CUT_MIN = 5
_ALSO_NAMES = frozenset(("Management", "MgmtEth", "Overlay"))
"""Of which a beginning may be the name of a network."""


def _is_cut(word: str, kind: str) -> bool:
    """`GigabitEth` at the end of half a file: a type without its number."""
    return len(word) >= _CUT_MIN and kind not in _ALSO_NAMES and kind.lower().startswith(word.lower())


def read_port(words: Sequence[str], at: int) -> tuple[int, int]:
    expected = "a port (1-65535)"
    word = word_at(words, at, expected)
    if not (word.isascii() and word.isdecimal() and len(word) <= 9):
        named = names.PORTS.get(word.lower())
        if named is None:
            raise wrong(words, at, expected)
        return named, at + 1
    number = int(word)
    if not 1 <= number <= 65535:
        raise Unfit(at, f"{word} is not {expected}")
    return number, at + 1


def _read_rest(words: Sequence[str], at: int) -> tuple[tuple[str, ...], int]:
    return tuple(words[at:]), len(words)


def _read_protocol_word(words: Sequence[str], at: int) -> tuple[str, int]:
    """tcp or udp, where both are said as one."""
    word = word_at(words, at, "tcp or udp").lower()
    if word in ("tcp", "tc", "t", "udp", "ud", "u"):
        return "tcp" if word[0] == "t" else "udp", at + 1
    raise wrong(words, at, "tcp or udp")


def _read_pool_kind(words: Sequence[str], at: int) -> tuple[str, int]:
    word = word_at(words, at, "rotary or match-host")
    fits = [kind for kind in ("rotary", "match-host") if kind.startswith(word.lower())]
    if len(fits) != 1:
        raise wrong(words, at, "rotary or match-host")
    return fits[0], at + 1


def _write_seconds(seconds: int) -> str:
    return "never" if seconds == NEVER else str(seconds)


def write_mask(length: int) -> str:
    """The netmask of a prefix length."""
    return str(IPv4Address(0xFFFFFFFF ^ ((1 << (32 - length)) - 1)))


SLOTS: dict[str, Slot] = {
    "address": Slot("an IPv4 address", read_address),
    "address-text": Slot("an IPv4 address", lambda words, at: (str(read_address(words, at)[0]), at + 1)),
    "any-mask": Slot("a netmask", read_address),
    "mask": Slot("a netmask such as 255.255.255.0", read_mask, write_mask),
    "network-length": Slot("a netmask or /LENGTH", read_network_length, write_mask),
    "length": integer(1, 32, "a prefix length"),
    "name": Slot("a name", read_name),
    "list": Slot("a list: 1-2699 or a name", _read_list),
    "interface": Slot("an interface", _read_interface),
    "port": Slot("a port (1-65535)", read_port),
    "seconds": Slot("seconds (0-536870) or never", _read_seconds, _write_seconds),
    "number": integer(0, 2147483647, "a number"),
    "id": integer(1, 2147483647, "a number"),
    "protocol-word": Slot("tcp or udp", _read_protocol_word),
    "rest": Slot("more words", _read_rest, " ".join, optional=True),
    "pool-kind": Slot("rotary or match-host", _read_pool_kind),
    "sequence": integer(0, 2147483647, "a sequence number"),
}  # fmt: skip
