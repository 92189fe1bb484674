"""Access lists, numbered and named, and object-groups."""

import re
from ipaddress import IPv4Address, IPv4Network

from understudy.ios import commands, slots
from understudy.ios.lines import Line, State, Words
from understudy.ios.running import Running, RunningGroup, RunningList
from understudy.ios.slots import Unfit, is_placeholder
from understudy.ios.words import Command, Prompt

GROUP_MAX = 4096
_GROUP_LINE = re.compile(r"(?:[0-9].*|any?|host?|ho|ra(?:n|ng|nge)?|group-o\w*|desc\w*)$", re.IGNORECASE)
"""First words of a group of networks, where nothing is indented."""
_ALL = (("/0",), (str(IPv4Address(0)),))
_ENDS_GROUP = frozenset(("ip", "interface", "access-list", "route-map", "router", "line", "object-group"))


def read_numbered(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`access-list 1 permit ...`."""
    state.mode = None
    if len(said) < 2:
        return
    if is_placeholder(said[1], name=True):
        raise Unfit(1, f"{said[1]!r} stands for a value: put the number of a list there", placeholder=True)
    if not (said[1].isascii() and said[1].isdecimal()):
        if len(said) > 2 and is_placeholder(said[1]) and any(is_placeholder(word, name=True) for word in said[2:]):
            raise Unfit(1, f"{said[1]!r} stands for a value: put the number of a list there", placeholder=True)
        return
    name = str(int(said[1][:9]))
    line.belongs = ("list", name)
    extended = _extended(name)
    if extended is None:
        return
    if negated:
        if len(said) == 2 or not _remove_entry(state.running, name, said[2:]):
            state.running.lists.pop(name, None)
        return
    _enter_entry(state.running, name, extended, command, said, 2, line)


def open_list(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`ip access-list standard NAME`: its entries follow."""
    state.mode = None
    kind = said[2].lower()
    if is_placeholder(said[-1], name=True):
        raise Unfit(len(said) - 1, f"{said[-1]!r} stands for a value: put a name there", placeholder=True)
    extended = {"s": False, "e": True}.get(kind[:1]) if kind[:1] in "se" and len(said) > 3 else None
    if extended is None or not ("standard".startswith(kind) or "extended".startswith(kind)):
        if kind == "resequence" and len(said) > 3:
            line.belongs = ("list", said[3])
        return
    name = said[3]
    line.belongs = ("list", name)
    if negated:
        state.running.lists.pop(name, None)
        return
    state.running.lists.setdefault(name, RunningList(name, extended))
    state.subject, state.mode = name, in_list


def in_list(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """A line of a list's block."""
    first = said[0].lower()
    known = first.isdecimal() or any(
        len(first) >= 2 and word.startswith(first) for word in ("permit", "deny", "remark", "evaluate", "dynamic")
    )
    if not known:
        state.mode = None
        return
    name = state.subject
    line.belongs = ("list", name)
    held = state.running.lists.setdefault(name, RunningList(name, extended=True))
    if negated:
        if first.isdecimal() and len(first) < 10:
            held.remove_sequence(int(first))
        else:
            _remove_entry(state.running, name, said)
        return
    _enter_entry(state.running, name, held.extended, command, said, 0, line)


def _enter_entry(
    running: Running, name: str, extended: bool, command: Command, said: tuple[str, ...], at: int, line: Line
) -> None:
    held = running.lists.setdefault(name, RunningList(name, extended))
    sequence = None
    if at < len(said) and said[at].isascii() and said[at].isdecimal():
        sequence, at = slots.SLOTS["sequence"].read(said, at)
    if at < len(said) and len(said[at]) >= 3 and "remark".startswith(said[at].lower()):
        held.remarks.append(" ".join(command.after(at + 1).split()))
        return
    if at < len(said) and said[at].lower() == "evaluate":
        line.statement = ("evaluate", *said[at + 1 :])
        return  # the mirror of a `reflect` entry: it makes no entry of NAT
    grammar = commands.EXTENDED if held.extended else commands.STANDARD
    try:
        entry = grammar.match(said[at:]).build(sequence=0)
    except Unfit as unfit:
        raise Unfit(unfit.index + at, str(unfit), unfit.message, placeholder=unfit.placeholder) from None
    line.statement = entry
    if not held.enter(entry, sequence, line.number):
        raise Unfit(at - 1, f"another entry stands at {sequence}", "% Duplicate sequence number")


def _remove_entry(running: Running, name: str, said: tuple[str, ...]) -> bool:
    held = running.lists.get(name)
    if held is None:
        return False
    try:
        return held.remove((commands.EXTENDED if held.extended else commands.STANDARD).match(said).build(sequence=0))
    except Unfit:
        return False


def open_group(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`object-group network NAME`."""
    state.mode = None
    if len(said) < 3 or said[1].lower() not in ("network", "service"):
        return
    name = said[2]
    line.belongs = ("object-group", name)
    if negated:
        state.running.groups.pop(name, None)
        return
    state.running.groups.setdefault(name, RunningGroup(said[1].lower(), name))
    state.subject, state.mode, state.header_indent = name, _in_group, command.indent


def _in_group(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    group = state.running.groups.get(state.subject)
    inner = command.indent > state.header_indent or command.prompt is Prompt.OTHER
    network = group is not None and group.kind == "network"
    ends = said[0].lower() in _ENDS_GROUP or (network and not inner and not _GROUP_LINE.match(said[0]))
    if group is None or ends:
        state.mode = None
        return
    line.belongs = ("object-group", group.name)
    if said[0].lower() == "description":
        return
    if len(group.lines) >= GROUP_MAX:
        raise Unfit(0, f"a group may have {GROUP_MAX} lines", "")
    text = _network_line(said) if network else " ".join(said)
    group.lines.pop(text, None)
    if not negated:
        group.lines[text] = None


def _network_line(said: Words) -> str:
    """A line of a group of networks in canonical words. Raises Unfit."""
    first = said[0].lower()
    if "any".startswith(first):
        text, behind = "any", 1
    elif "host".startswith(first):
        address, behind = slots.read_address(said, 1)
        text = f"host {address}"
    elif "range".startswith(first):
        begin, behind = slots.read_address(said, 1)
        end, behind = slots.read_address(said, behind)
        if begin > end:
            raise Unfit(2, f"the range ends at {end}, before its start {begin}")
        text = f"range {begin} {end}"
    elif "group-object".startswith(first):
        name, behind = slots.read_name(said, 1)
        text = f"group-object {name}"
    else:
        address, behind = slots.read_address(said, 0, "host, range, group-object, any or an address with its mask")
        length, behind = (0, 2) if said[1:2] in _ALL else slots.read_network_length(said, behind)
        network = IPv4Network((address, length), strict=False)
        text = f"{network.network_address} {network.netmask}"
    if behind < len(said):
        raise Unfit(behind, f"{said[behind]!r} is one word too many")
    return text


def _extended(name: str) -> bool | None:
    """Whether a numbered list is extended; None for numbers of other protocols."""
    number = int(name)
    if 1 <= number <= 99 or 1300 <= number <= 1999:
        return False
    return True if 100 <= number <= 199 or 2000 <= number <= 2699 else None
