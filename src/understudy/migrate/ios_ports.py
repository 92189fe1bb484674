"""What a running configuration says of its interfaces beside NAT: virtual addresses, VLANs, and lines to be told.

First-hop redundancy is read in all its spellings, because its virtual address is what the hosts use:

    standby 1 ip 10.0.0.1                      HSRP
    vrrp 1 ip 10.0.0.1                         VRRP; `vrrp 1 address-family ipv4` with `address` below it
    glbp 1 ip 10.0.0.1                         GLBP
    redundancy group 1 ip 10.0.0.1 exclusive   a firewall's or NAT's own groups
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from understudy.ios.lines import Line, Reading
from understudy.ios.names import interface_name, interface_type
from understudy.ios.slots import ADDRESS
from understudy.ios.words import Command, is_diff, read_line
from understudy.migrate import ios_words
from understudy.migrate.words import Verdict
from understudy.units import MILLISECOND, SECOND, Duration

VIRTUAL_MAX = 32
"""Virtual addresses of one interface that are read: as many as a group may have on a network."""
_PROTOCOLS = frozenset(("standby", "vrrp", "glbp"))
_DEFAULT_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Port:
    """One interface, as far as the file needs it and NAT does not."""

    name: str
    vlan: int | None = None
    virtual: tuple[IPv4Address, ...] = ()
    lines: list[tuple[Line, tuple[str, ...]]] = field(default_factory=list)
    """Lines to be told if the interface becomes a network, with their words in small letters."""


@dataclass(slots=True)
class Ports:
    """All interfaces, and what holds for the pair."""

    hostname: str = ""
    known: dict[str, Port] = field(default_factory=dict)
    advertise: Duration | None = None
    priority: int | None = None
    """Of this router in the first group that says one which is not the default."""
    preempt: bool = False
    global_: list[tuple[Line, tuple[str, ...]]] = field(default_factory=list)

    @property
    def redundant(self) -> bool:
        """Whether this router is one of a pair already."""
        return any(port.virtual for port in self.known.values())


def read_ports(reading: Reading) -> Ports:
    """What the lines around NAT say."""
    ports = Ports()
    open_: tuple[str, ...] = ()
    indented, group = False, False
    for line, command in _commands(reading):
        words = tuple(word.lower() for word in command.words)
        if not words:
            open_, indented, group = (open_, indented, group) if command.indent else ((), False, False)
            continue
        if words[0] == "hostname" and len(words) > 1:
            ports.hostname = command.words[1]
        if (name := _opened(command.words)) is not None:
            open_, indented, group = (name,), False, False
            ports.known.setdefault(name, Port(name))
            continue
        indented |= command.indent > 0
        if (indented and command.indent == 0) or words[0] in ("exit", "end", "interface", "router"):
            open_, group = (), False
        if open_:
            _in_interface(ports, open_[0], line, words)
        else:
            group = words[0] == "redundancy" or (group and command.indent > 0)
            if group:
                _in_group(ports, words)
            if command.indent == 0 or not indented:
                ports.global_.append((line, words))
    return ports


def _commands(reading: Reading) -> Iterator[tuple[Line, Command]]:
    diff = is_diff([line.text for line in reading.lines])
    for line in reading.lines:
        if line.why in ("banner", "removed", "exec"):
            continue
        yield line, read_line(line.number, line.text, diff=diff)


def _opened(words: Sequence[str]) -> str | None:
    """The interface that a line opens."""
    if len(words) < 2 or len(words[0]) < 3 or not "interface".startswith(words[0].lower()):
        return None
    apart = interface_type(words[1]) if len(words) > 2 and words[2][:1].isdecimal() else None
    return f"{apart}{words[2]}" if apart else interface_name(words[1])


def _in_interface(ports: Ports, name: str, line: Line, words: tuple[str, ...]) -> None:
    port = ports.known[name]
    said = tuple(word for at, word in enumerate(words) if not (at == 1 and word.isdecimal() and words[0] in _PROTOCOLS))
    address = _virtual(said)
    if address is not None and len(port.virtual) < VIRTUAL_MAX and address not in port.virtual:
        port = replace(port, virtual=(*port.virtual, address))
    if said[0] == "encapsulation" and len(said) > 2 and said[2].isdecimal():
        port = replace(port, vlan=int(said[2][:4]))
    if said[0] in _PROTOCOLS or said[0] in ("priority", "preempt", "timers"):
        _speech(ports, said[1:] if said[0] in _PROTOCOLS else said, milliseconds=said[0] == "timers")
    port.lines.append((line, said))
    ports.known[name] = port


def _virtual(said: tuple[str, ...]) -> IPv4Address | None:
    """The virtual address of a line without its group's number."""
    match said:
        case ("standby" | "vrrp" | "glbp", "ip", text, *_):
            pass
        case ("redundancy", "group", _, "ip", text, *_) | ("address", text, "primary" | "secondary"):
            pass
        case _:
            return None
    return IPv4Address(text) if ADDRESS.fullmatch(text) and _octets(text) else None


def _octets(text: str) -> bool:
    return all(int(part) < 256 and part == str(int(part)) for part in text.split("."))


def _speech(ports: Ports, said: tuple[str, ...], *, milliseconds: bool = False) -> None:
    """`priority 110`, `preempt ...`, `timers [advertise] [msec] 200 ...`."""
    if said[:1] == ("preempt",):
        ports.preempt = True
    elif said[:1] == ("priority",) and said[1:2] and said[1].isdecimal():
        value = int(said[1][:4])
        if ports.priority is None and value != _DEFAULT_PRIORITY:
            ports.priority = value
    elif said[:1] == ("timers",):
        rest = [word for word in said[1:] if word not in ("advertise", "hellotime")]
        short = rest[:1] == ["msec"] or milliseconds
        number = next((word for word in rest if re.fullmatch("[0-9]{1,6}", word)), None)
        if number is not None and ports.advertise is None:
            ports.advertise = int(number) * (MILLISECOND if short else SECOND)


def _in_group(ports: Ports, words: tuple[str, ...]) -> None:
    """`redundancy`, `application redundancy`, `group 1`: its priority and timers."""
    if words[0] in ("priority", "preempt", "timers"):
        _speech(ports, words)


def verdict_of(words: tuple[str, ...], *, inside: bool) -> Verdict | None:
    """What is said of a line that is not NAT; None for what is of no concern."""
    if words[0] in _PROTOCOLS and words[1:2] and words[1] in _SPOKEN:
        return _SPOKEN[words[1]]
    if _virtual(words) is not None:
        return ios_words.VIRTUAL
    table = ios_words.INTERFACE if inside else ios_words.GLOBAL
    return next((table[words[:width]] for width in (3, 2, 1) if words[:width] in table), None)


_SPOKEN = {"priority": ios_words.PRIORITY, "timers": ios_words.TIMERS, "preempt": ios_words.PREEMPT}
