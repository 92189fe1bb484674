"""Lines of Cisco IOS in the file: gathered, read, judged, and put on the networks of one group.

An interface of the lines is a network of the file: by the network's name (`interface outside`), or, in a running
configuration, by an address within the network's prefix. Its address is then the group's on that network, whatever the
lines said. Roles are those of the lines; where these give none, `outside` are the networks that a rule names, else
those that hold its global addresses, else those with a gateway, and `inside` is every other network of the group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from understudy.config.load import Source, Steps
from understudy.config.models import NAT_MAX, CheckModel, FileModel, GroupModel, IosModel
from understudy.config.plan import IosLine
from understudy.config.problems import Problem, quoted
from understudy.config.rules.scope import Scope
from understudy.errors import OperatorError
from understudy.ios.check import Report, check
from understudy.ios.encoding import decode_text
from understudy.ios.lines import Line, Reading
from understudy.ios.model import Configuration, Dynamic, Interface, Pool, Role, Side
from understudy.ios.names import interface_name
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_text
from understudy.ios.running import Running

FROM_MAX = 2 * 1024 * 1024
"""Bytes of a file that `from` names: what it says is carried to the agents within the one file."""
_ROLES = frozenset({Role.INSIDE, Role.OUTSIDE, Role.ENABLE})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line was given: a value of the file, and the line of the file that it names, if it names one."""

    path: Steps
    file: str = ""
    line: int = 0
    """Of the file that is named, or else of ours."""
    item: int = 0
    """Where several stand in one line: so they are carried to a node, and it is the line of the file that was named."""

    @property
    def said(self) -> str:
        """`edge.ios:12`, `line 12` of the file itself, or `line 12, item 3`."""
        if self.file:
            return f"{self.file}:{self.line}"
        return f"line {self.line}, item {self.item}" if self.item else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Given:
    """The lines of the whole file, in order."""

    lines: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()

    def problem(self, source: Source, number: int | None, code: str, message: str, hint: str = "") -> Problem:
        """A problem of a line, counted from 1; of the first one where it concerns none."""
        place = self.place(number or 1)
        where = f"{place.said}: " if place.file and number else ""
        problem = source.problem(place.path, code, where + message, hint)
        if place.file or not number or place.line == problem.line:
            return problem
        return replace(problem, line=place.line, column=1, width=1)

    def place(self, number: int) -> Place:
        """Of a line, counted from 1."""
        return self.places[min(max(1, number), len(self.places)) - 1]


@dataclass(frozen=True, slots=True)
class IosLines:
    """Lines that are fine, and where they work."""

    group: str
    report: Report
    configuration: Configuration
    networks: tuple[tuple[str, str], ...]
    """Name of an interface in the lines, and its network."""
    given: Given
    state: str
    profile: str
    helpers: tuple[str, ...]
    strict: bool
    rotary_udp: bool
    rotary_check: CheckModel | None


@dataclass(slots=True)
class Settled:
    lines: IosLines | None = None
    problems: list[Problem] = field(default_factory=list)


def gather(source: Source, file: FileModel) -> tuple[Given, list[Problem]]:
    """All lines of a file, with those of the files that it names."""
    lines: list[str] = []
    places: list[Place] = []
    problems: list[Problem] = []
    for at, model in file.ios:
        if (model.from_ is None) == (not model.lines):
            message = "says both `lines` and `from`" if model.lines else "says neither `lines` nor `from`"
            problems.append(source.problem(("nat", at), "E2507", message, "one of the two", key=True))
            continue
        for number, text in enumerate(model.lines):
            at_lines: Steps = ("nat", at, "lines", number)
            # The lines of a block stand below its mark.
            first = source.locate(at_lines)[0].line + ("\n" in text)
            crowded = bool(number and places[-1].path[:-1] == at_lines[:-1] and places[-1].line == first)
            if crowded and places[-1].item == 0:
                places[-1] = replace(places[-1], item=number)
            for offset, part in enumerate(text.splitlines() or [""]):
                lines.append(part)
                places.append(Place(at_lines, line=first + offset, item=number + 1 if crowded else 0))
        if model.from_ is not None:
            path: Steps = ("nat", at, "from")
            try:
                content = read_named(source, model.from_)
            except OperatorError as error:
                problems.append(source.problem(path, error.code, error.message, error.hint))
                continue
            for number, text in enumerate(content, start=1):
                lines.append(text)
                places.append(Place(path, model.from_, number))
    return Given(tuple(lines), tuple(places)), problems


def read_named(source: Source, name: str) -> list[str]:
    """The lines of a file beside ours. Raises OperatorError E2507, or E2118 for more than a file may give."""
    if source.directory is None:
        raise OperatorError("E2507", f"{name}: this file came without a directory", "write the lines into it")
    try:
        with (source.directory / name).open("rb") as stream:
            data = stream.read(FROM_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = f"a path from {source.directory}"
        raise OperatorError("E2507", f"{name} cannot be read: {reason}", hint) from None
    if len(data) > FROM_MAX:
        raise OperatorError("E2507", f"{name} is larger than {FROM_MAX >> 20} MiB", "give the lines of NAT alone")
    text = decode_text(data)
    if "\0" in text:
        raise OperatorError("E2507", f"{name} is not text", "lines of Cisco IOS")
    lines = text.splitlines()
    if len(lines) > NAT_MAX:
        raise OperatorError("E2118", f"{name} has {len(lines)} lines, at most {NAT_MAX}", "give the lines of NAT alone")
    return lines


def settle(scope: Scope, given: Given, models: Sequence[IosModel], *, place: bool) -> Settled:
    """Read the lines and find their place; every problem of them.

    Where the rest of the file has problems there is no `place` to find: what would be said of it might be wrong.
    """
    done = Settled()
    if not given.lines:
        return done
    profiles = dict.fromkeys(model.profile for model in models if model.profile is not None)
    if len(profiles) > 1:
        message = f"read with the profiles {' and '.join(profiles)}"
        done.problems.append(given.problem(scope.source, None, "E2509", message, "one for the whole file"))
    checks = [model.rotary_check for model in models if model.rotary_check is not None]
    if any(each != checks[0] for each in checks):
        message = "servers of rotaries are checked in two ways"
        done.problems.append(given.problem(scope.source, None, "E2509", message, "one for the whole file"))
    if any(not each.none and each.port is None for each in checks):
        message = "the servers of a rotary have no port of their own to check"
        done.problems.append(given.problem(scope.source, None, "E2512", message, "{tcp: true, port: 80}"))
    try:
        reading = read_text("\n".join(given.lines))
    except OperatorError as error:
        done.problems.append(
            given.problem(scope.source, None, "E2505", error.message.removeprefix("text: "), error.hint)
        )
        return done
    done.problems += [_refused(scope.source, given, line) for line in reading.refused]
    if not reading.configuration.rules:
        return done
    if not place or done.problems:
        return done
    name, found = _group(scope, given, reading)
    done.problems += found
    if name is None:
        return done
    networks, found = _networks(scope, given, reading, scope.file.redundancy[name])
    done.problems += found
    if found:
        return done
    running = _placed(scope.file, reading, name, networks)
    configuration = running.frozen()
    done.problems += _owners(scope, given, running, name)
    done.problems += _unanswered(scope, given, running, scope.file.redundancy[name])
    if not any(Role.OUTSIDE in each.roles for each in configuration.interfaces):
        message = "nothing says which network is outside"
        hint = "`interface NETWORK` and `ip nat outside`, or a rule that names it"
        done.problems.append(given.problem(scope.source, None, "E2508", message, hint))
    group = scope.file.redundancy[name]
    if group.vrrp.peer == "vrrp" and any(model.state != "none" for model in models):
        message = f"the other node of {name} runs another implementation and keeps nothing of ours"
        done.problems.append(given.problem(scope.source, None, "E2316", message, "leave `state` out"))
    profile = next(iter(profiles), "classic")
    placed = Reading(configuration, reading.lines, running)
    done.lines = IosLines(
        name,
        check(placed, profile_named(profile)),
        configuration,
        networks,
        given,
        max((model.state for model in models), key=("none", "copy", "replicate").index),
        profile,
        tuple(dict.fromkeys((*_asked_helpers(configuration), *(h for model in models for h in model.helpers)))),
        any(model.strict for model in models),
        any(model.rotary_udp for model in models),
        next((each for each in checks if not each.none), None),
    )
    return done


def _refused(source: Source, given: Given, line: Line) -> Problem:
    refusal = line.refusal
    assert refusal is not None
    said = f"; IOS says: {refusal.message}" if refusal.message else ""
    message = f"{quoted(line.text.strip())}, column {refusal.column}: {refusal.reason}{said}"
    return given.problem(source, line.number, "E2505", message)


def _named(reading: Reading) -> Iterator[tuple[Interface, int | None]]:
    """Interfaces that have a role or that a rule names, and the line that says so."""
    running = reading.running
    wanted: dict[str, int | None] = {}
    for each in running.interfaces.values():
        for role in each.roles:
            wanted.setdefault(each.name, running.lines.get((Role, each.name, role)))
    for shelf in (running.dynamics, running.statics):
        for key, rule in shelf.items():
            # A static entry's `egress-interface` counts for nothing.
            exits = (rule.interface, rule.egress_interface if isinstance(rule, Dynamic) else None)
            for name in filter(None, exits):
                wanted.setdefault(name, running.lines.get(key))
    for name, line in wanted.items():
        yield running.interfaces.get(name, Interface(name)), line


def _network_of(file: FileModel, interface: Interface, among: Sequence[str]) -> str | None:
    for network in among:
        if (interface_name(network) or network).lower() == interface.name.lower():
            return network
    for network in among:
        prefixes = file.networks[network].prefixes if network in file.networks else ()
        if any(address.ip in prefix for address in interface.addresses for prefix in prefixes if prefix.version == 4):
            return network
    return None


def _held_networks(group: GroupModel) -> tuple[str, ...]:
    """Networks on which a group has IPv4 addresses."""
    return tuple(n for n, own in group.addresses.items() if any(address.version == 4 for address in own))


def _group(scope: Scope, given: Given, reading: Reading) -> tuple[str | None, list[Problem]]:
    """The one group whose networks the lines mean."""
    file = scope.file
    named = [each for each, _ in _named(reading)]
    held = {name: _held_networks(group) for name, group in file.redundancy.items()}
    able = [name for name, networks in held.items() if len(networks) > 1]
    fits = [name for name in able if all(_network_of(file, each, held[name]) for each in named)]
    if len(fits) == 1 or (not fits and len(able) == 1):
        return (fits or able)[0], []
    if not able:
        message, hint = "no group holds IPv4 addresses on two networks", "one inside, one outside"
    elif fits:
        message, hint = f"{', '.join(fits)} could all translate", "`interface NETWORK` with `ip nat inside | outside`"
    else:
        message, hint = "no group is on all the networks that the lines name", "lines of one group"
    return None, [given.problem(scope.source, None, "E2508", message, hint)]


def _networks(
    scope: Scope, given: Given, reading: Reading, group: GroupModel
) -> tuple[tuple[tuple[str, str], ...], list[Problem]]:
    """Which network each interface is, and every interface that is none."""
    held = _held_networks(group)
    known: dict[str, str] = {}
    problems = []
    for each, line in _named(reading):
        network = _network_of(scope.file, each, held)
        if network is not None:
            known[each.name] = network
        elif not each.shutdown:
            message = f"interface {each.name} is no network on which the group has an IPv4 address"
            problems.append(given.problem(scope.source, line, "E2506", message, f"known: {', '.join(held)}"))
    known |= {network: network for network in held if network not in known.values()}
    return tuple(known.items()), problems


def _placed(file: FileModel, reading: Reading, name: str, networks: tuple[tuple[str, str], ...]) -> Running:
    """What the lines hold, with the group's addresses and every role."""
    running, group = reading.running, file.redundancy[name]
    said = any(_ROLES.intersection(each.roles) for each in running.interfaces.values())
    outside = frozenset() if said else _outside(file, reading, networks)
    interfaces = {}
    for each, network in networks:
        lines_say = running.interfaces.get(each, Interface(each))
        roles = lines_say.roles
        if not said:
            roles = (Role.OUTSIDE if network in outside else Role.INSIDE,)
        prefix = next(p for p in file.networks[network].prefixes if p.version == 4)
        own = tuple(
            IPv4Interface((address, prefix.prefixlen))
            for address in group.addresses[network]
            if isinstance(address, IPv4Address)
        )
        interfaces[each] = Interface(each, roles, own, vrf=lines_say.vrf)
    return replace(running, interfaces=interfaces)


def _outside(file: FileModel, reading: Reading, networks: tuple[tuple[str, str], ...]) -> frozenset[str]:
    configuration, known = reading.configuration, dict(networks)
    named = {known[rule.interface] for rule in configuration.rules if rule.interface is not None}
    if not named:
        inner = [rule for rule in configuration.dynamics if rule.side is Side.INSIDE]
        pools = {pool.name: pool for pool in configuration.pools}
        seen = [s.global_ for s in configuration.statics if s.side is Side.INSIDE and s.global_ is not None]
        seen += [part.first for rule in inner if rule.pool in pools for part in pools[rule.pool].segments]
        named = {n for n in known.values() if any(a in p for p in file.networks[n].prefixes for a in seen)}
    if not named:
        named = {n for n in known.values() if any(a.version == 4 for a in file.networks[n].gateway)}
    return frozenset(named) if len(named) < len(set(known.values())) else frozenset()


def _owners(scope: Scope, given: Given, running: Running, group: str) -> Iterator[Problem]:
    """A static entry must not take an address with which a machine of the file itself is reached."""
    file = scope.file
    owners = {a: node for node, ports in file.nodes.items() for port in ports.values() for a in port.addresses}
    beyond = [
        (a, name)
        for name, each in file.redundancy.items()
        if name != group
        for own in each.addresses.values()
        for a in own
    ]
    owners.update(beyond)
    for key, static in running.statics.items():
        address = static.local if static.side is Side.OUTSIDE else static.global_
        if address is None:
            continue
        if static.length is not None:
            net = IPv4Network((address, static.length), strict=False)
            owner = (
                next((who for own, who in owners.items() if own in net), None) if static.side is Side.INSIDE else None
            )
        else:
            owner = owners.get(address)
        if owner is not None:
            message = f"the static entry of {static.local} takes {address}, which is an address of {owner}"
            line = running.lines.get(key)
            yield given.problem(scope.source, line, "E2510", message, "an address that nobody else has")


def _unanswered(scope: Scope, given: Given, running: Running, group: GroupModel) -> Iterator[Problem]:
    """A port that keeps its own MAC answers for the addresses that it has, and for no others."""
    if group.vrrp.virtual_mac:
        return
    held = [address for own in group.addresses.values() for address in own]
    prefixes = [i.network for each in running.interfaces.values() for i in each.addresses]
    pools = {rule.pool for rule in running.dynamics.values() if rule.side is Side.INSIDE}
    wanted: list[tuple[IPv4Address | None, object]] = [
        (static.global_, key)
        for key, static in running.statics.items()
        if static.side is Side.INSIDE and not static.no_alias
    ]
    wanted += [
        (part.first, (Pool, name)) for name, pool in running.pools.items() if name in pools for part in pool.segments
    ]
    for address, place in wanted:
        if address is not None and address not in held and any(address in prefix for prefix in prefixes):
            line = running.lines.get(place)
            message = f"nobody answers for {address}: the group has no virtual MAC"
            yield given.problem(scope.source, line, "E2511", message, "an address of the group, or `virtual_mac: true`")
            return


def said_of(lines: IosLines) -> Iterator[IosLine]:
    """What is said of each line of NAT."""
    for judged in lines.report.lines:
        if judged.verdict is None:
            continue
        yield IosLine(
            where=lines.given.place(judged.line.number).said,
            text=judged.line.text.strip(),
            fidelity=judged.verdict.fidelity.word,
            reason=(judged.reason("en"), judged.reason("ko")),
            rule=judged.verdict.rules[0].name,
        )


def _asked_helpers(configuration: Configuration) -> Iterator[str]:
    """`ip nat service ftp` and the like; none is at work unless it is asked for."""
    for each in configuration.directives:
        if not each.negated and each.words[0] == "service":
            yield from (name for name in ("ftp", "tftp") if name in each.words[1:])
