"""Slots of the entries of access lists: whom an entry matches, ports, protocols, and what stands behind it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from understudy.ios import names
from understudy.ios.model import Host, Ports
from understudy.ios.slots import (
    ADDRESS,
    AMBIGUOUS,
    INCOMPLETE,
    INVALID,
    Slot,
    Unfit,
    is_placeholder,
    read_address,
    read_name,
    read_port,
    word_at,
    wrong,
)


def _host(address: IPv4Address, wildcard: IPv4Address) -> Host:
    """Bits that the wildcard leaves open are cleared, as the router writes it."""
    return Host(IPv4Address(int(address) & ~int(wildcard) & 0xFFFFFFFF), wildcard)


_NONE = IPv4Address(0)


def _read_host(words: Sequence[str], at: int, *, wildcard_needed: bool) -> tuple[Host, int]:
    expected = "any, host ADDRESS or ADDRESS WILDCARD"
    word = word_at(words, at, expected)
    lower = word.lower()
    if lower in ("any", "any4") or (lower == "an"):
        return Host(), at + 1
    if len(lower) >= 1 and "host".startswith(lower):
        address, behind = read_address(words, at + 1)
        return Host(address, _NONE), behind
    if lower == "object-group" or (len(lower) > 1 and "object-group".startswith(lower)) or lower == "addrgroup":
        name, behind = read_name(words, at + 1)
        return Host(_NONE, _NONE, name), behind
    if "/" in word:
        try:
            network = IPv4Network(word, strict=False)
        except ValueError:
            raise wrong(words, at, expected) from None
        raise Unfit(at, f"{word}: a list takes a wildcard: {network.network_address} {network.hostmask}")
    address, behind = read_address(words, at, expected)
    if behind < len(words) and ADDRESS.fullmatch(words[behind]):
        wildcard, behind = read_address(words, behind, "a wildcard such as 0.0.0.255")
        return _host(address, wildcard), behind
    if behind < len(words) and is_placeholder(words[behind]) and "." in words[behind]:
        raise wrong(words, behind, "a wildcard such as 0.0.0.255")
    if wildcard_needed:
        return _host(address, read_address(words, behind, "a wildcard such as 0.0.0.255")[0]), behind + 1
    return Host(address, _NONE), behind


def _write_host(host: Host) -> str:
    if host.group is not None:
        return f"object-group {host.group}"
    if host.any:
        return "any"
    return f"host {host.address}" if host.wildcard == _NONE else f"{host.address} {host.wildcard}"


_OPERATORS = {"eq": 10, "neq": 10, "gt": 1, "lt": 1, "range": 2}


def _read_ports(words: Sequence[str], at: int) -> tuple[Ports | None, int]:
    if at >= len(words) or (operator := words[at].lower()) not in _OPERATORS:
        return None, at
    numbers = [_read_list_port(words, at + 1)]
    behind = at + 2
    limit = _OPERATORS[operator]
    while len(numbers) < limit and behind < len(words):
        try:
            numbers.append(_read_list_port(words, behind))
        except Unfit:
            break
        behind += 1
    if operator == "range" and len(numbers) < 2:
        raise Unfit(behind, "expected the last port of the range", INCOMPLETE if behind >= len(words) else INVALID)
    return Ports(operator, tuple(numbers)), behind


def _read_list_port(words: Sequence[str], at: int) -> int:
    """A list may also name port 0."""
    if at < len(words) and words[at] == "0":
        return 0
    return read_port(words, at)[0]


def _write_ports(ports: Ports | None) -> str:
    return "" if ports is None else f"{ports.operator} {' '.join(map(str, ports.numbers))}"


def _read_protocol(words: Sequence[str], at: int) -> tuple[str, int]:
    expected = "a protocol: ip, tcp, udp, icmp, gre, esp or a number"
    word = word_at(words, at, expected)
    lower = word.lower()
    if lower in names.PROTOCOLS or (lower.isascii() and lower.isdecimal() and len(lower) <= 3 and int(lower) <= 255):
        return {"ipv4": "ip", "ahp": "ah"}.get(lower, lower), at + 1
    if lower == "object-group":
        name, behind = read_name(words, at + 1)
        return f"object-group {name}", behind
    raise wrong(words, at, expected)


_ACTIONS = {"permit": True, "deny": False}


def _read_action(words: Sequence[str], at: int) -> tuple[bool, int]:
    word = word_at(words, at, "permit or deny").lower()
    fits = [action for action in _ACTIONS if action.startswith(word)]
    if len(fits) != 1:
        raise wrong(words, at, "permit or deny")
    return _ACTIONS[fits[0]], at + 1


QUALIFIERS = {
    "established": 0, "log": 0, "log-input": 0, "fragments": 0, "ack": 0, "fin": 0, "psh": 0, "rst": 0, "syn": 0,
    "urg": 0, "dscp": 1, "precedence": 1, "tos": 1, "time-range": 1, "ttl": 2, "option": 1, "reflect": 1, "timeout": 1,
    "match-any": 9, "match-all": 9, "echo": 0, "echo-reply": 0, "unreachable": 0, "host-unreachable": 0, "redirect": 0,
    "net-unreachable": 0, "port-unreachable": 0, "time-exceeded": 0, "ttl-exceeded": 0, "packet-too-big": 0,
    "administratively-prohibited": 0, "traceroute": 0, "source-quench": 0, "parameter-problem": 0, "mask-request": 0,
    "mask-reply": 0, "timestamp-request": 0, "timestamp-reply": 0, "router-advertisement": 0, "router-solicitation": 0,
    "information-request": 0, "information-reply": 0, "host-unknown": 0, "net-unknown": 0, "protocol-unreachable": 0,
    "source-route-failed": 0, "reassembly-timeout": 0, "host-redirect": 0, "net-redirect": 0, "tracked": 0,
    "dod-host-prohibited": 0, "dod-net-prohibited": 0, "general-parameter-problem": 0, "host-isolated": 0,
    "host-precedence-unreachable": 0, "host-report": 0, "host-query": 0, "mobile-redirect": 0, "conversion-error": 0,
    "alternate-address": 0, "port": 0, "smaller": 0, "greater": 0, "v2-report": 0, "query": 0, "pim": 0,
}  # fmt: skip
"""What may stand behind an entry, and how many words each takes."""


def _read_qualifiers(words: Sequence[str], at: int) -> tuple[tuple[str, ...], int]:
    found: list[str] = []
    while at < len(words):
        word = words[at].lower()
        fits = [word] if word in QUALIFIERS else [each for each in QUALIFIERS if each.startswith(word)]
        if word.isascii() and word.isdecimal() and len(word) <= 3 and int(word) <= 255:  # an ICMP type or code
            found.append(word)
            at += 1
            continue
        if not fits:
            raise wrong(words, at, "a word that may stand behind an entry, such as log")
        if len(fits) > 1:
            raise Unfit(at, f"{word!r} may be {', '.join(sorted(fits)[:6])}", AMBIGUOUS.format(" ".join(words)))
        taken = list(words[at + 1 : at + 1 + QUALIFIERS[fits[0]]])
        if QUALIFIERS[fits[0]] == 1 and not taken:
            raise Unfit(at + 1, f"expected what {fits[0]} says", INCOMPLETE)
        found += [fits[0], *(each.lower() if fits[0] != "time-range" else each for each in taken)]
        at += 1 + len(taken)
    return tuple(found), at


ENTRY_SLOTS: dict[str, Slot] = {
    "protocol": Slot("a protocol", _read_protocol),
    "action": Slot("permit or deny", _read_action, lambda permit: "permit" if permit else "deny"),
    "source": Slot(
        "any, host ADDRESS or ADDRESS [WILDCARD]",
        lambda words, at: _read_host(words, at, wildcard_needed=False),
        _write_host,
    ),
    "match": Slot(
        "any, host ADDRESS or ADDRESS WILDCARD",
        lambda words, at: _read_host(words, at, wildcard_needed=True),
        _write_host,
    ),
    "ports": Slot("eq, neq, gt, lt or range", _read_ports, _write_ports, optional=True),
    "qualifiers": Slot("log or the like", _read_qualifiers, " ".join, optional=True),
}
