"""Is a line the same on Linux? A table from what a statement says to the rules it rests on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from understudy.ios.entries import QUALIFIERS
from understudy.ios.matching import icmp_type
from understudy.ios.model import (
    NEVER,
    Directive,
    Dynamic,
    Entry,
    MaxEntries,
    Pool,
    PortTimeout,
    Role,
    Segment,
    Side,
    Static,
    Timeout,
)
from understudy.ios.profiles import Profile
from understudy.ios.rules import RULES, Fidelity, Rule


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a line's fidelity is; the first rule is the one that decides."""

    rules: tuple[Rule, ...]

    @property
    def fidelity(self) -> Fidelity:
        return self.rules[0].fidelity

    def reason(self, language: str = "en") -> str:
        """All that counts against it, or the one sentence of what is the same."""
        telling = [rule for rule in self.rules if rule.fidelity is not Fidelity.SAME] or self.rules[:1]
        return "; ".join(rule.said(language) for rule in telling)


Row = tuple[Callable[[Any, Profile], bool], str]


def _set(*names: str) -> Callable[[Any, Profile], bool]:
    """Whether one of these fields says something."""
    if len(names) == 1:
        name = names[0]
        return lambda each, _: bool(getattr(each, name))
    return lambda each, _: any(getattr(each, name) for name in names)


_COMMON: tuple[Row, ...] = (
    (lambda each, _: each.side is Side.NVI, "nvi"),
    (_set("vrf"), "vrf"),
    (_set("redundancy", "mapping_id"), "redundancy"),
    (_set("reversible"), "reversible"),
    (_set("add_route"), "add-route"),
)
_STATIC: tuple[Row, ...] = (
    (lambda each, _: each.side is Side.OUTSIDE, "outside-static"),
    (_set("length"), "static-network"),
    (lambda each, _: each.protocol == "esp", "static-esp"),
    (_set("local_port"), "static-port"),
    (_set("interface"), "static-interface"),
    (lambda each, _: each.side is Side.INSIDE and not each.local_port and not each.length, "static"),
    (_set("route_map"), "static-condition"),
    (_set("stateless"), "stateless"),
    (_set("egress_interface"), "static-egress"),
    (_set("extendable"), "extendable"),
    (_set("no_alias"), "no-alias"),
    (_set("no_payload"), "no-payload"),
    *_COMMON,
)


class _Shape(NamedTuple):
    """All that the rows ask of a static entry: what it says, whatever the address. Of a hundred thousand few differ."""

    side: Side
    protocol: str | None
    length: bool
    local_port: bool
    interface: bool
    route_map: bool
    stateless: bool
    egress_interface: bool
    extendable: bool
    no_alias: bool
    no_payload: bool
    vrf: bool
    redundancy: bool
    mapping_id: bool
    reversible: bool
    add_route: bool


_said = attrgetter(*_Shape._fields[2:])
_DYNAMIC: tuple[Row, ...] = (
    (lambda each, profile: each.overload and profile.linux, "overload-classic"),
    (lambda each, profile: each.overload and not profile.linux, "overload-counted"),
    (_set("extended"), "overload-extended"),
    (_set("pap"), "pap"),
    (_set("oer"), "oer"),
    (_set("egress_interface"), "egress"),
    (lambda each, _: each.side is Side.OUTSIDE, "outside-pool"),
    (
        lambda each, _: not each.overload and each.side in (Side.INSIDE, Side.NVI) and each.route_map is not None,
        "pool-route-map",
    ),
    (lambda each, _: not each.overload and each.side in (Side.INSIDE, Side.NVI) and each.route_map is None, "pool"),
    *_COMMON,
)
_SERVICES = {
    "ftp": "helper", "tftp": "helper",
    "sip": "helper-other", "h225": "helper-other", "h323": "helper-other", "ras": "helper-other",
    "pptp": "helper-other", "all-algs": "helper-other", "netbios-ns": "helper-other",
    "dns": "helper-none", "rtsp": "helper-none", "skinny": "helper-none", "ldap": "helper-none",
    "sunrpc": "helper-none", "msrpc": "helper-none", "rcmd": "helper-none", "netbios-dgm": "helper-none",
    "netbios-ssn": "helper-none", "mgcp": "helper-none", "gatekeeper": "helper-none", "fullrange": "helper-none",
    "list": "helper-other",
}  # fmt: skip
_DIRECTIVES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("create",), "flow-entries"),
    (("switchover",), "replication"),
    (("route",), "route-vrf"),
    (("log",), "log"),
    (("settings", "interface-overload"), "reserved-ports"),
    (("settings", "mode"), "settings-mode"),
    (("settings", "pap"), "pap"),
    (("settings",), "settings-none"),
    (("stateful",), "stateful"),
    ((), "service-none"),
)
_NO_TIMEOUT = ("routemap-entry-timeout", "arp-ping-timeout")
_FLAGS = frozenset(("established", "ack", "fin", "psh", "rst", "syn", "urg", "match-any", "match-all", "ttl", "option"))

_TOLD = _FLAGS | {"log", "log-input", "time-range", "reflect", "timeout"}
"""Words behind an entry of which a rule speaks."""


def judge(statement: Any, pools: Mapping[str, str], profile: Profile, *, negated: bool = False) -> Verdict:
    """The rules that a line of NAT rests on, the worst first. `pools` tells each pool's kind."""
    if isinstance(statement, Static) and not negated:
        return _of_shape(_Shape(statement.side, statement.protocol, *map(bool, _said(statement))), profile)
    return verdict_of(tuple(_names(statement, pools, profile, negated)))


@cache
def _of_shape(shape: _Shape, profile: Profile) -> Verdict:
    return verdict_of(tuple(name for test, name in _STATIC if test(shape, profile)))


@cache
def verdict_of(names: tuple[str, ...]) -> Verdict:
    """A verdict of these rules."""
    rules = sorted((RULES[name] for name in dict.fromkeys(names)), key=lambda rule: -rule.fidelity)
    return Verdict(tuple(rules))


def _names(statement: Any, pools: Mapping[str, str], profile: Profile, negated: bool) -> list[str]:
    if isinstance(statement, Directive):
        return [_directive(statement, negated)]
    if negated or isinstance(statement, dict):
        return ["removed"]
    match statement:
        case Dynamic() if statement.side is Side.DESTINATION:
            generic = pools.get(statement.pool or "", "rotary") != "rotary"
            return ["destination-generic" if generic else "rotary", *_common(statement, profile)]
        case Dynamic():
            if pools.get(statement.pool or "") == "match-host" and not statement.overload:
                return ["match-host", *_common(statement, profile)]
            return [name for test, name in _DYNAMIC if test(statement, profile)]
        case Pool() if statement.accounting is not None or statement.arp_ping:
            return ["pool-lines", "pool-extra"]
        case Pool() | Segment():
            return ["pool-lines"]
        case Timeout():
            if statement.which in _NO_TIMEOUT:
                return ["timeout-none"]
            return ["timeout-never" if statement.seconds in (NEVER, 0) else "timeout"]
        case PortTimeout():
            return ["timeout-never" if statement.seconds in (NEVER, 0) else "timeout"]
        case MaxEntries():
            return ["limit"]
        case Role():
            special = {Role.ENABLE: "nvi", Role.STICK: "stick", Role.ALLOW_STATIC_HOST: "allow-static-host"}
            return [special.get(statement, "role")]
        case Entry():
            return ["list", *_entry(statement)]
        case ("evaluate", *_):
            return ["list-dynamic"]
        case ("set", *_):
            return ["route-map-set"]
        case ("route-map", *_) | ("match", "interface", *_):
            return ["route-map"]
        case ("match", "ip", "address", first, *_) if first != "prefix-list":
            return ["route-map"]
        case ("match", *_):
            return ["route-map-match"]
        case _:
            return ["list"]


def _common(statement: Dynamic, profile: Profile) -> list[str]:
    return [name for test, name in _COMMON if test(statement, profile)]


def _directive(directive: Directive, negated: bool) -> str:
    words = directive.words
    if words[0] == "service" and len(words) > 1:
        return "service-off" if negated else _SERVICES.get(words[1], "service-none")
    if words[0] == "create":
        return "no-flow-entries" if negated else "flow-entries"
    if negated:
        return "removed"
    return next(name for start, name in _DIRECTIVES if words[: len(start)] == start)


def _entry(entry: Entry) -> list[str]:
    found = []
    said = set(entry.qualifiers)
    if said & {"log", "log-input"}:
        found.append("list-log")
    if said & _FLAGS:
        found.append("list-flags")
    if "time-range" in said:
        found.append("list-time")
    if "reflect" in said:
        found.append("list-dynamic")
    if entry.protocol is not None and entry.protocol.startswith("object-group"):
        found.append("list-service-group")
    if _unasked(entry):
        found.append("list-words")
    return found


def _unasked(entry: Entry) -> bool:
    """Whether something stands behind the entry that no rule speaks of and nobody asks a packet for."""
    said = icmp_type(entry)
    at = 0 if said is None else 2 if entry.qualifiers[0].isdecimal() and said[1] is not None else 1
    while at < len(entry.qualifiers):
        word = entry.qualifiers[at]
        if word not in _TOLD:
            return True
        at += 1 + QUALIFIERS[word]
    return False
