"""The lines of NAT as the file holds them: of one table, with sides, on networks instead of interfaces.

Four things are changed, each told on its line: the VRF's name is dropped (the pair is that VRF), NVI's rules get sides,
an address lent by an interface that is no LAN is written as itself, and what belongs to another table stays away.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from understudy.ios.check import Judged
from understudy.ios.fidelity import judge
from understudy.ios.model import Configuration, Dynamic, Interface, Pool, Role, RouteMap, Segment, Side, Static
from understudy.ios.printer import print_configuration, print_statement
from understudy.ios.profiles import Profile
from understudy.ios.reader import read_text
from understudy.ios.rules import Fidelity
from understudy.ios.texts import said as said_in
from understudy.migrate import ios_words
from understudy.migrate.ios_networks import Networks, chosen_outside
from understudy.migrate.words import Verdict, differs, kept, left_out

_Rule = TypeVar("_Rule", bound=Static | Dynamic)
_SIDES = (Role.INSIDE, Role.OUTSIDE)


@dataclass(frozen=True, slots=True)
class Table:
    """The rules of one table: the global one (None) or a VRF's."""

    vrf: str | None
    others: tuple[str | None, ...]
    """Tables that have rules and are left out."""
    configuration: Configuration
    all_dynamics: tuple[Dynamic, ...]
    """Of every table."""


def choose_table(configuration: Configuration, wished: str | None) -> Table:
    """The table that is wished for, else the global one if it has rules, else that of the VRF with the most."""
    counted = Counter(rule.vrf for rule in configuration.rules)
    vrf = wished if wished is not None or None in counted else max(counted, key=counted.__getitem__, default=None)
    outside = chosen_outside(configuration)
    interfaces = tuple(_sided(each, outside) for each in configuration.interfaces)
    return Table(
        vrf,
        tuple(other for other in counted if other != vrf),
        replace(
            configuration,
            interfaces=interfaces,
            statics=tuple(_of_table(each) for each in configuration.statics if each.vrf == vrf),
            dynamics=tuple(_of_table(each) for each in configuration.dynamics if each.vrf == vrf),
            pools=tuple(replace(pool, nvi=False) for pool in configuration.pools),
            routes=tuple(replace(each, vrf=None) for each in configuration.routes if each.vrf == vrf),
            limits=tuple(each for each in configuration.limits if each.scope not in ("vrf", "all-vrf")),
        ),
        configuration.dynamics,
    )


def _sided(interface: Interface, outside: set[str]) -> Interface:
    """`ip nat enable` and `stick` as one of the two sides."""
    if any(role in _SIDES for role in interface.roles):
        return replace(interface, roles=tuple(role for role in interface.roles if role in _SIDES))
    if Role.ENABLE in interface.roles:
        return replace(interface, roles=(Role.OUTSIDE if interface.name in outside else Role.INSIDE,))
    return replace(interface, roles=(Role.INSIDE,) if Role.STICK in interface.roles else ())


def _of_table(rule: _Rule) -> _Rule:
    side = Side.INSIDE if rule.side is Side.NVI else rule.side
    return replace(rule, vrf=None, match_in_vrf=False, redundancy=None, mapping_id=None, side=side)


def lines_of(table: Table, networks: Networks, profile: Profile) -> tuple[str, ...]:
    """Canonical lines, those of a block indented; empty if no rule is left."""
    held = table.configuration
    places = networks.places
    kinds = {pool.name: pool.kind for pool in held.pools}

    def fits(statement: object) -> bool:
        return judge(statement, kinds, profile).fidelity is not Fidelity.REFUSED

    placeable = [each for each in held.rules if fits(each) and _placeable(each, networks)]
    rules = [_placed(each, places, networks) for each in placeable]
    gone = {rule.pool for rule in table.all_dynamics} - {rule.pool for rule in placeable if isinstance(rule, Dynamic)}
    pools = [pool for pool in held.pools if pool.name not in gone] + list(_lent_pools(rules, networks))
    outer = any(rule.side is Side.OUTSIDE for rule in rules)
    text = print_configuration(
        Configuration(
            interfaces=tuple(Interface(each.name, (each.role,)) for each in networks.all if each.role is not None),
            pools=tuple(pools),
            statics=tuple(rule for rule in rules if isinstance(rule, Static)),
            dynamics=tuple(rule for rule in rules if isinstance(rule, Dynamic)),
            timeouts=tuple(filter(fits, held.timeouts)),
            port_timeouts=tuple(filter(fits, held.port_timeouts)),
            limits=tuple(filter(fits, held.limits)),
            directives=tuple(filter(fits, held.directives)),
            access_lists=held.access_lists,
            object_groups=held.object_groups,
            route_maps=tuple(_renamed(each, places) for each in held.route_maps),
            # Of routes, NAT needs those by which overlapping networks are reached.
            routes=tuple(replace(each, interface=None) for each in held.routes if outer and each.next_hop is not None),
        )
    )
    if not rules:
        return ()
    # Read again, it holds only the lists and route-maps that the rules left still reach.
    text = print_configuration(read_text(text).configuration)
    return tuple(line for line in text.splitlines() if line != "!")


def _placeable(rule: Static | Dynamic, networks: Networks) -> bool:
    """Whether there are networks where it names interfaces, or an address in their place."""
    egress = rule.egress_interface if isinstance(rule, Dynamic) else None
    if egress is not None and networks.named(egress) is None:
        return False
    if rule.interface is None or networks.named(rule.interface) is not None:
        return True
    # Of one protocol without ports no address can be said, only an interface.
    bare = isinstance(rule, Static) and rule.protocol is not None and rule.local_port is None
    return rule.interface in networks.lent and not bare


def _placed(rule: Static | Dynamic, places: Mapping[str, str], networks: Networks) -> Static | Dynamic:
    """On networks; an address lent by an interface that is none is said itself."""
    lent = networks.lent.get(rule.interface or "")
    placed = replace(
        rule,
        interface=places.get(rule.interface or ""),
        # A static entry counts everywhere, whatever it says: what is no network need not be said.
        egress_interface=places.get(rule.egress_interface or ""),
    )
    if lent is None:
        return placed
    if isinstance(placed, Static):
        return replace(placed, global_=lent)
    return replace(placed, pool=_lent_name(rule.interface or ""))


def _lent_name(interface: str) -> str:
    return interface.upper()


def _lent_pools(rules: Sequence[Static | Dynamic], networks: Networks) -> Iterator[Pool]:
    used = {rule.pool for rule in rules if isinstance(rule, Dynamic)}
    for interface, address in networks.lent.items():
        if _lent_name(interface) in used:
            yield Pool(_lent_name(interface), 32, (Segment(address, address),))


def _renamed(route_map: RouteMap, places: Mapping[str, str]) -> RouteMap:
    def match(words: tuple[str, ...]) -> tuple[str, ...]:
        return (words[0], *(places.get(word, word) for word in words[1:])) if words[0] == "interface" else words

    clauses = tuple(replace(each, matches=tuple(map(match, each.matches))) for each in route_map.clauses)
    return replace(route_map, clauses=clauses)


def fate_of(judged: Judged, table: Table, networks: Networks, profile: Profile) -> Verdict | None:
    """What became of a line of NAT, or of one that is refused; None for any other."""
    line = judged.line
    if line.refusal is not None:
        said = f"; IOS says: {line.refusal.message}" if line.refusal.message else ""
        reason = f"column {line.refusal.column}: {line.refusal.reason}{said}"
        return left_out(reason, reason)
    if judged.verdict is None:
        return None
    if isinstance(line.statement, Static | Dynamic) and line.statement.vrf != table.vrf:
        row = ios_words.GLOBAL_TABLE if line.statement.vrf is None else ios_words.OTHER_VRF
        return ios_words.filled(row, vrf=line.statement.vrf)
    if line.note is not None and line.note.code in ("replaced", "similar-static", "nothing-to-remove"):
        both = (said_in(line.note.code, line.note.said, language) for language in ("en", "ko"))
        return (left_out if line.note.code == "similar-static" else differs)(*both)
    if isinstance(line.statement, Static | Dynamic) and not line.negated:
        changed = _changed(line.statement, networks)
        if changed is not None:
            return changed
        statement = _of_table(line.statement)
        verdict = judge(statement, {pool.name: pool.kind for pool in table.configuration.pools}, profile)
        if verdict.fidelity is Fidelity.SAME and line.statement.vrf is not None:
            return ios_words.filled(ios_words.VRF_DROPPED, vrf=line.statement.vrf)
    else:
        verdict = judged.verdict
    if _matches_elsewhere(line.statement, networks):
        return ios_words.NO_LAN
    rows = {Fidelity.DIFFERS: differs, Fidelity.REFUSED: left_out}
    return rows.get(verdict.fidelity, kept)(verdict.reason("en"), verdict.reason("ko"))


def _matches_elsewhere(statement: object, networks: Networks) -> bool:
    """Whether a line of a route-map asks for an interface that is no network: no flow leaves there."""
    match statement:
        case ("match", "interface", *names):
            return any(networks.named(str(each)) is None for each in names)
    return False


def _changed(rule: Static | Dynamic, networks: Networks) -> Verdict | None:
    if not _placeable(rule, networks):
        return ios_words.NO_LAN
    if rule.interface in networks.lent:
        return ios_words.filled(ios_words.LENT, address=networks.lent[rule.interface])
    if rule.side is Side.NVI:
        return ios_words.filled(ios_words.SIDED, line=print_statement(_of_table(rule)))
    return None
