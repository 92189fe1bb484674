"""Route-maps, VRFs, static routes, and the lists that a crypto map selects."""

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from understudy.ios import slots
from understudy.ios.entries import ENTRY_SLOTS
from understudy.ios.lines import Line, State, Words
from understudy.ios.model import Clause, Route
from understudy.ios.slots import INCOMPLETE, Unfit, is_placeholder
from understudy.ios.words import Command

CLAUSE_MAX = 64


def open_route_map(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`route-map NAME permit 10`: its clauses follow."""
    state.mode = None
    if len(said) < 2:
        return
    name = said[1]
    if is_placeholder(name, name=True):
        raise Unfit(1, f"{name!r} stands for a value: put a name there", placeholder=True)
    line.belongs = ("route-map", name)
    line.statement = ("route-map", name)
    at, permit, sequence = 2, True, 10
    if at < len(said) and said[at].lower()[:1] in ("p", "d") and not said[at].isdecimal():
        permit, at = ENTRY_SLOTS["action"].read(said, at)
    if at < len(said):
        sequence, at = slots.integer(0, 65535, "a sequence number").read(said, at)
    clauses = state.running.route_maps.setdefault(name, {})
    if negated:
        if len(said) == 2:
            state.running.route_maps.pop(name, None)
        else:
            clauses.pop(sequence, None)
        return
    held = clauses.get(sequence, Clause(sequence))
    clauses[sequence] = replace(held, permit=permit)
    state.running.lines.setdefault((Clause, name, sequence), line.number)
    state.subject, state.mode = (name, sequence), _in_route_map


def _in_route_map(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    name, sequence = state.subject
    first = said[0].lower()
    which = next((each for each in ("match", "set", "description", "continue") if each.startswith(first)), None)
    if which is None or name not in state.running.route_maps:
        state.mode = None
        return
    line.belongs = ("route-map", name)
    clause = state.running.route_maps[name].get(sequence)
    if clause is None or which in ("description", "continue") or len(said) < 2:
        return
    line.statement = (which, *said[1:])
    if len(clause.matches) + len(clause.sets) >= CLAUSE_MAX or len(said) > CLAUSE_MAX:
        raise Unfit(0, f"a clause may have {CLAUSE_MAX} lines and lists", "")
    if which == "match":
        match = _route_map_match(said)
        line.statement = ("match", *match)
        clause = replace(clause, matches=_merged(clause.matches, match, negated=negated))
    else:
        text = " ".join(said[1:])
        others = tuple(each for each in clause.sets if each != text)
        clause = replace(clause, sets=others if negated else (*others, text))
    state.running.route_maps[name][sequence] = clause


def _merged(matches: tuple[Words, ...], match: Words, *, negated: bool) -> tuple[Words, ...]:
    """A further line of the same kind adds to it, as on a router: any of its lists or interfaces will do."""
    width = 2 if match[0] == "ip" else 1
    same = [each for each in matches if each[:width] == match[:width]]
    others = tuple(each for each in matches if each[:width] != match[:width])
    said = dict.fromkeys(word for each in same for word in each[width:])
    if negated:
        left = [word for word in said if word not in match[width:]]
        return (*others, (*match[:width], *left)) if left else others
    return (*others, (*match[:width], *said, *(word for word in match[width:] if word not in said)))


def open_vrf(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`vrf definition V` or `ip vrf V`."""
    state.mode = None
    at = 2 if said[0].lower() == "ip" or (len(said) > 2 and "definition".startswith(said[1].lower())) else 1
    if at >= len(said) or said[1].lower() in ("forwarding", "upgrade-cli"):
        return
    line.why = "read"
    if negated:
        state.running.vrfs.pop(said[at], None)
    else:
        state.running.vrfs[said[at]] = None


def read_route(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`ip route ...`; a malformed one is nobody's concern here."""
    state.mode = None
    route = _route_of(said)
    if route is None:
        return
    line.why = "read"
    if negated:
        state.running.routes.pop(route, None)
    else:
        state.running.routes[route] = None


def open_crypto_map(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`crypto map ...`: its list is what a VPN wants untranslated."""
    state.mode = _in_crypto_map


def _in_crypto_map(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    if said[0].lower() == "match" and len(said) > 2 and said[1].lower() == "address" and not negated:
        state.running.selectors[said[2]] = None


def _route_map_match(said: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical words after `match`."""
    second = said[1].lower()
    if "interface".startswith(second) and len(second) >= 3:
        found, at = [], 2
        while at < len(said):
            name, at = slots.SLOTS["interface"].read(said, at)
            found.append(name)
        if not found:
            raise Unfit(2, "expected an interface", INCOMPLETE)
        return ("interface", *found)
    if second == "ip" and len(said) > 2:
        third = said[2].lower()
        for whole in ("address", "next-hop"):
            if whole.startswith(third):
                if len(said) == 3:
                    raise Unfit(3, "expected a list", INCOMPLETE)
                for index, word in enumerate(said[3:], 3):
                    if is_placeholder(word, name=True):
                        raise Unfit(index, f"{word!r} stands for a value: put a list there", placeholder=True)
                return ("ip", whole, *said[3:])
    return tuple(said[1:])


def _route_of(said: tuple[str, ...]) -> Route | None:
    """A static route; None for what no NAT needs, a malformed one included."""
    at, vrf = 2, None
    if len(said) > 3 and said[2].lower() == "vrf":
        vrf, at = said[3], 4
    try:
        address, at = slots.read_address(said, at)
        mask, at = slots.read_address(said, at)
        prefix = IPv4Network(f"{address}/{mask}", strict=False)
    except (Unfit, ValueError):
        return None
    interface, hop = None, None
    if at < len(said) and not said[at][0].isdecimal():
        try:
            interface, at = slots.SLOTS["interface"].read(said, at)
        except Unfit:
            return None
        if not any(letter.isdecimal() for letter in interface):
            return None
    if at < len(said) and said[at].count(".") == 3:
        try:
            hop, at = IPv4Address(said[at]), at + 1
        except ValueError:
            return None
    distance = int(said[at]) if at < len(said) and re.fullmatch("[0-9]{1,3}", said[at]) else 1
    if interface is None and hop is None:
        return None
    return Route(prefix, hop, interface, vrf, distance, "global" in (word.lower() for word in said[at:]))
