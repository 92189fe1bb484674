"""The commands of NAT themselves, and the blocks under some of them."""

from dataclasses import replace
from ipaddress import IPv4Network

from understudy.ios import commands
from understudy.ios.grammar import Match
from understudy.ios.interfaces import is_role, read_role
from understudy.ios.lines import Kind, Line, State, Words
from understudy.ios.model import Directive, Dynamic, Pool
from understudy.ios.running import Note, add_segment
from understudy.ios.slots import INCOMPLETE, Unfit
from understudy.ios.words import Command

SEGMENTS_MAX = 256


def enter_nat(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    """Enter one command of NAT, or the role of an interface. Raises Unfit."""
    if is_role(state, command, said):
        read_role(state, command, said, negated, line)
        return
    if negated and len(said) > 5 and len(said[-1]) >= 3 and "forced".startswith(said[-1].lower()):
        said = said[:-1]  # flows that use it are ended too: of no concern to what is held
    try:
        match = commands.NAT.match(said, negated=negated)
    except Unfit as unfit:
        raise _with_hint(unfit, said) from None
    _check(match, negated=negated)
    value = match.build()
    line.kind, line.why, line.statement, line.negated = Kind.NAT, "", value, negated
    state.mode = None
    if isinstance(value, commands.Partly):
        line.note = state.running.remove_partly(value)
    elif negated and isinstance(value, Directive):
        line.note = state.running.switch_off(value, line.number)
    elif negated:
        line.note = state.running.remove(value)
    elif isinstance(value, Dynamic) and value.interface is not None and not value.overload:
        line.statement = replace(value, overload=True)  # as a router stores it
        line.note = state.running.enter(line.statement, line.number) or Note("overload-implied")
    else:
        line.note = state.running.enter(value, line.number)
        _open_block(state, value)


def _open_block(state: State, value: object) -> None:
    """A pool without addresses and `stateful id N` go on in lines below."""
    if isinstance(value, Pool) and not value.segments:
        state.subject, state.mode = value.name, _in_pool
    elif isinstance(value, Directive) and value.words[0] == "stateful" and len(value.words) == 3:
        state.subject, state.mode = value.words, _in_stateful


def _in_pool(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    if said[0].lower() not in ("address", "range") and not "address".startswith(said[0].lower()):
        state.mode = None
        return
    match = commands.POOL.match(said)
    _check(match, negated=negated)
    pool = state.running.pools.get(state.subject)
    line.kind, line.why = Kind.NAT, ""
    line.statement = segment = match.build()
    if pool is not None and len(pool.segments) >= SEGMENTS_MAX:
        raise Unfit(0, f"a pool may have {SEGMENTS_MAX} segments", "")
    if pool is not None:
        state.running.pools[state.subject] = add_segment(pool, segment, negated=negated)


def _in_stateful(state: State, command: Command, said: Words, negated: bool, line: Line) -> None:
    match = commands.STATEFUL.match(said)
    held = state.running.directives.pop(state.subject, None)
    state.subject = (*state.subject, *match.words)
    if held is not None:
        state.running.directives[state.subject] = Directive(state.subject)
        state.running.lines[Directive, state.subject] = line.number
    line.kind, line.why, line.statement = Kind.NAT, "", Directive(state.subject)


_HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("ip", "nat", "inside", "destination", "static"),
        "IOS has it no more: write `ip nat inside source static LOCAL GLOBAL`",
    ),
    (("ip", "nat", "outside", "destination"), "IOS has `ip nat inside destination list L pool P`"),
    (("ip", "nat", "source", "dynamic"), "this is Arista EOS, not Cisco IOS"),
    (("ip", "nat", "destination"), "this is Arista EOS: IOS has `ip nat inside destination list L pool P`"),
    (("ip", "nat", "outside", "source", "list"), "outside rules take a pool: no interface, no overload"),
)  # fmt: skip


def _with_hint(unfit: Unfit, said: tuple[str, ...]) -> Unfit:
    lower = tuple(word.lower() for word in said)
    if unfit.placeholder:
        return unfit
    for start, hint in _HINTS:
        if lower[: len(start)] == start:
            return Unfit(unfit.index, f"{unfit}; {hint}", unfit.message)
    word = said[unfit.index] if unfit.index < len(said) else ""
    if lower[2:3] == ("pool",) and unfit.index == 6 and word.startswith("255."):
        return Unfit(unfit.index, f"{unfit}; write `netmask {word}`", unfit.message)
    if lower[2:3] == ("pool",) and "netmask" in lower[4:7] and word[:1] == "/":
        return Unfit(unfit.index, f"{unfit}; this is A10's form, IOS writes prefix-length {word[1:]}")
    if lower[2:] in (("inside",), ("outside",)):
        return Unfit(
            unfit.index, f"{unfit}; a role stands under `interface ...`, and no interface is open here", unfit.message
        )
    return unfit


def _check(match: Match, *, negated: bool) -> None:
    """What the words alone do not say: a pool's ends and mask, a network's host bits."""
    values = match.values
    if match.form.make is commands.make_pool and not negated and "length" not in values:
        raise Unfit(2 + len(match.words), "expected netmask MASK or prefix-length N", INCOMPLETE)
    if "first" in values and values["first"] > values["last"]:
        raise Unfit(match.places["last"], f"the pool ends at {values['last']}, before its start {values['first']}",
                    "%End address less than start address")  # fmt: skip
    if "first" in values and "length" in values:
        network = IPv4Network((values["first"], values["length"]), strict=False)
        if values["last"] not in network:
            raise Unfit(match.places["last"], f"{values['last']} is not in {network}, the network of the start",
                        "")  # fmt: skip
