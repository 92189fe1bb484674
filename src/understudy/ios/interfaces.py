"""Interfaces: their addresses, VRFs and NAT roles."""

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any

from understudy.ios import commands, slots
from understudy.ios.lines import Kind, Line, State, Words
from understudy.ios.model import Role
from understudy.ios.names import interface_name
from understudy.ios.running import Note, Running, with_address, with_role
from understudy.ios.slots import Unfit
from understudy.ios.words import Command, Prompt

RANGE_MAX = 256
"""Interfaces of an `interface range`."""


def open_interface(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`interface ...` or `interface range ...`."""
    rest = said[1:]
    if not rest:
        state.mode = None
        return
    state.mode, state.indented, state.header_indent = in_interface, False, command.indent
    if len(rest) > 1 and "range".startswith(rest[0].lower()) and len(rest[0]) >= 2:
        state.interfaces = _range_of(" ".join(rest[1:]))
    else:
        state.interfaces = (slots.unless_placeholder(lambda: slots.SLOTS["interface"].read(said, 1)[0]),)
    state.interfaces = tuple(name for name in state.interfaces if name)
    line.why = "read"
    for name in state.interfaces:
        if negated:
            state.running.interfaces.pop(name, None)
        else:
            state.running.interface(name)
            state.running.lines.setdefault(("interface", name), line.number)


def in_interface(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """A line of an interface's block, as far as NAT needs it."""
    state.indented |= command.indent > state.header_indent
    if said[0].lower() not in ("ip", "vrf", "shutdown", "shut"):
        return
    try:
        context = commands.INTERFACE.match(said if said[0].lower() != "shut" else ("shutdown",)).build()
    except Unfit as unfit:
        if unfit.placeholder and said[1].lower()[:3] == "add":
            raise
        return
    if not isinstance(context, commands.Context):  # `ip n stick`: a router would ask which word is meant
        return
    line.why = "read"
    for name in state.interfaces:
        _apply(state.running, name, context, negated, line.number)


def _apply(running: Running, name: str, context: Mapping[str, Any], negated: bool, number: int) -> None:
    interface = running.interface(name)
    match context["what"]:
        case "address":
            address = IPv4Interface((context["address"], context["length"]))
            interface = with_address(interface, address, secondary="secondary" in context, negated=negated)
            running.lines["address", name, address] = number
        case "dhcp" | "negotiated" as how:
            interface = replace(interface, dynamic=None if negated else how, addresses=())
        case "none":
            interface = replace(interface, addresses=(), dynamic=None)
        case "unnumbered":
            interface = replace(interface, unnumbered=None if negated else context["interface"])
        case "vrf":
            interface = replace(interface, vrf=None if negated else context.get("vrf"))
        case "shutdown":
            interface = replace(interface, shutdown=not negated)
    running.interfaces[name] = interface


def is_role(state: State, command: Command, said: Words) -> bool:
    """Whether a line gives the open interface a role."""
    if len(said) != 3 or command.prompt is Prompt.GLOBAL:
        return False
    if not any(each.startswith(said[2].lower()) for each in Role):
        return False
    # Indented, it stood under an interface that is not in the text: `show running-config | include nat`.
    return state.mode is in_interface or command.prompt is Prompt.INTERFACE or command.indent > 0


def read_role(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """`ip nat inside` and the like. Raises Unfit."""
    role: Role = commands.INTERFACE.match(said).build()
    line.kind, line.why, line.statement, line.negated = Kind.NAT, "", role, negated
    here = state.interfaces if state.mode is in_interface or command.prompt is Prompt.INTERFACE else ()
    if not here:
        line.note = Note("role-nowhere")
    for name in here:
        interface = state.running.interface(name)
        lost = [each for each in interface.roles if each not in with_role(interface, role, negated=False).roles]
        if lost and not negated:
            line.note = Note("replaced", {"line": state.running.lines.get((Role, name, lost[0]))})
        state.running.interfaces[name] = with_role(interface, role, negated=negated)
        state.running.lines[Role, name, role] = line.number


_RANGE = re.compile(r"([A-Za-z-]+)\s*([\d/]*?)(\d+)(?:\s*-\s*(\d+))?")


def _range_of(text: str) -> tuple[str, ...]:
    """The interfaces of `interface range`, at most RANGE_MAX."""
    found: list[str] = []
    for part in text.split(","):
        matched = _RANGE.fullmatch(part.strip())
        if matched is None:
            continue
        kind, before, first, last = matched.groups()
        for number in range(int(first[:9]), min(int((last or first)[:9]), int(first[:9]) + RANGE_MAX) + 1):
            name = interface_name(f"{kind}{before}{number}")
            if name is not None and len(found) < RANGE_MAX:
                found.append(name)
    return tuple(found)
