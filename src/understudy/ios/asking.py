"""The words after `show ip nat translations` and `clear ip nat translation`: what they select. Pure.

    show   [verbose] [PROTOCOL] [inside [A]] [outside [A]] [vrf V] [filter range A B] [total]
    clear  * | forced | vrf V | [PROTOCOL] inside IG [P] IL [P] [outside OL [P] OG [P]] | outside OL OG

Words may be cut, as on the router.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from understudy.errors import OperatorError
from understudy.ios.show import Endpoint
from understudy.ios.translations import Kind, Translation

PROTOCOLS = ("tcp", "udp", "icmp", "gre", "esp", "ah", "sctp")
SHOWN = ("verbose", "inside", "outside", "vrf", "filter", "total", *PROTOCOLS)
_HINT_SHOW = "[verbose] [tcp|udp|icmp|...] [inside [A]] [outside [A]] [vrf V] [filter range A B] [total]"
_HINT_CLEAR = "* | [tcp|udp] inside IG [PORT] IL [PORT] [outside OL [PORT] OG [PORT]] | outside OL OG | vrf V"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown, and how."""

    verbose: bool = False
    total: bool = False
    protocol: str | None = None
    inside: bool = False
    """Rows that tell of an inside address."""
    outside: bool = False
    inside_address: IPv4Address | None = None
    outside_address: IPv4Address | None = None
    vrf: str | None = None
    first: IPv4Address | None = None
    """Of the range in which an inside address must lie."""
    last: IPv4Address | None = None

    def fits(self, row: Translation) -> bool:
        near, far = (row.inside_global, row.inside_local), (row.outside_local, row.outside_global)
        return (
            (self.protocol is None or row.protocol == self.protocol)
            and (self.vrf is None or row.vrf == self.vrf)
            and (not self.inside or _is(near, self.inside_address))
            and (not self.outside or _is(far, self.outside_address))
            and (self.first is None or self.last is None or _within(near, self.first, self.last))
        )

    def among(self, rows: Iterable[Translation]) -> tuple[Translation, ...]:
        return tuple(row for row in rows if self.fits(row))


def _is(ends: Iterable[Endpoint | None], address: IPv4Address | None) -> bool:
    return any(end is not None and (address is None or end.address == str(address)) for end in ends)


def _within(ends: Iterable[Endpoint | None], first: IPv4Address, last: IPv4Address) -> bool:
    return any(end is not None and first <= IPv4Address(end.address) <= last for end in ends)


def read_asked(words: Sequence[str]) -> Asked:
    """Raises OperatorError E7123."""
    asked = Asked()
    rest = list(words)
    while rest:
        word = _whole(rest.pop(0), SHOWN, _HINT_SHOW)
        if word == "verbose":
            asked = replace(asked, verbose=True)
        elif word == "total":
            asked = replace(asked, total=True)
        elif word == "inside":
            asked = replace(asked, inside=True, inside_address=_optional(rest))
        elif word == "outside":
            asked = replace(asked, outside=True, outside_address=_optional(rest))
        elif word == "vrf":
            asked = replace(asked, vrf=_next(rest, _HINT_SHOW))
        elif word == "filter":
            _whole(_next(rest, _HINT_SHOW), ("range",), _HINT_SHOW)
            first, last = (_address(_next(rest, _HINT_SHOW), _HINT_SHOW) for _ in range(2))
            asked = replace(asked, first=first, last=last)
        else:
            asked = replace(asked, protocol=word)
    return asked


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is to go. Without any field: everything that packets have made."""

    protocol: str | None = None
    inside_global: Endpoint | None = None
    inside_local: Endpoint | None = None
    outside_local: Endpoint | None = None
    outside_global: Endpoint | None = None
    vrf: str | None = None

    def fits(self, row: Translation) -> bool:
        """What the configuration says is never cleared."""
        if row.kind is Kind.STATIC or (row.kind is Kind.SIMPLE and "static" in row.flags):
            return False
        wanted = (self.inside_global, self.inside_local, self.outside_local, self.outside_global)
        held = (row.inside_global, row.inside_local, row.outside_local, row.outside_global)
        return (
            (self.protocol is None or row.protocol == self.protocol)
            and (self.vrf is None or row.vrf == self.vrf)
            and all(one is None or _same(one, other) for one, other in zip(wanted, held, strict=True))
        )


def _same(wanted: Endpoint, held: Endpoint | None) -> bool:
    return held is not None and wanted.address == held.address and wanted.port in (None, held.port)


def read_clearing(words: Sequence[str]) -> Clearing:
    """Raises OperatorError E7123."""
    rest = list(words)
    if rest in (["*"], ["forced"]):
        return Clearing()
    protocol = vrf = None
    ends: dict[str, Endpoint] = {}
    if rest and (found := _fitting(rest[0], ("tcp", "udp"))) is not None:
        protocol = found
        rest.pop(0)
    while rest:
        word = _whole(rest.pop(0), ("inside", "outside", "vrf"), _HINT_CLEAR)
        if word == "vrf":
            vrf = _next(rest, _HINT_CLEAR)
            continue
        # IOS names the global address first for inside, the local one first for outside.
        names = ("inside_global", "inside_local") if word == "inside" else ("outside_local", "outside_global")
        for name in names:
            ends[name] = _end(rest, ported=protocol is not None)
    if not ends and vrf is None:
        raise _wrong("nothing is named", _HINT_CLEAR)
    return Clearing(protocol, **ends, vrf=vrf)


def _end(rest: list[str], *, ported: bool) -> Endpoint:
    address = _address(_next(rest, _HINT_CLEAR), _HINT_CLEAR)
    port = None
    if ported and rest and rest[0].isdecimal() and int(rest[0]) < 65_536:
        port = int(rest.pop(0))
    return Endpoint(str(address), port)


def _fitting(word: str, choices: Sequence[str]) -> str | None:
    fits = [each for each in choices if each.startswith(word.lower())]
    return word.lower() if word.lower() in fits else fits[0] if len(fits) == 1 else None


def _whole(word: str, choices: Sequence[str], hint: str) -> str:
    found = _fitting(word, choices) if word else None
    if found is None:
        raise _wrong(f"{word!r} is none of {', '.join(choices)}", hint)
    return found


def _next(rest: list[str], hint: str) -> str:
    if not rest:
        raise _wrong("a word is missing at the end", hint)
    return rest.pop(0)


def _optional(rest: list[str]) -> IPv4Address | None:
    if rest and rest[0][:1].isdecimal():
        return _address(rest.pop(0), _HINT_SHOW)
    return None


def _address(word: str, hint: str) -> IPv4Address:
    try:
        return IPv4Address(word)
    except ValueError:
        raise _wrong(f"{word!r} is no IPv4 address", hint) from None


def _wrong(what: str, hint: str) -> OperatorError:
    return OperatorError("E7123", what, hint)
