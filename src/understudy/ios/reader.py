"""A whole text, line by line: commands entered in their order, and a word about each line.

Whole running configurations are read: what is not NAT, and is not needed by it, is passed over and counted. A line of
NAT that does not fit is refused with its place and IOS's own words; the others go on. Lists and route-maps count as
NAT where a rule reaches them, also one that stands later; elsewhere they are passed over, right or wrong.

Bounds: TEXT_MAX bytes, LINES_MAX lines, words.LENGTH_MAX characters a line; time is linear in the text.
"""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

from understudy.errors import OperatorError
from understudy.ios import slots, words
from understudy.ios.encoding import read_as_text
from understudy.ios.entering import enter_nat
from understudy.ios.foreign import vendor_of
from understudy.ios.interfaces import in_interface, open_interface
from understudy.ios.lines import Fault, Handler, Kind, Line, Reading, Refusal, State, Words
from understudy.ios.lists import open_group, open_list, read_numbered
from understudy.ios.maps import open_crypto_map, open_route_map, open_vrf, read_route
from understudy.ios.running import reached_groups, reached_lists, reached_maps
from understudy.ios.slots import INVALID, Unfit
from understudy.ios.words import Command, Prompt

TEXT_MAX = 32 * 1024 * 1024
LINES_MAX = 500_000
_BANNER_MAX = 200
"""Lines within which a banner must end."""
_BREAK = re.compile(r"\r(?:\r?\n)?|\n")


def read_bytes(data: bytes, where: str = "text") -> Reading:
    """Read a file's bytes. Raises OperatorError E7101 (too big), E7102 (no text) or E7103 (nothing of IOS in it)."""
    if len(data) > TEXT_MAX:
        raise OperatorError("E7101", f"{where}: more than {TEXT_MAX >> 20} MiB", "give the running configuration alone")
    text = read_as_text(data, where, "lines of Cisco IOS, such as `ip nat inside source ...`")
    return read_text(text, where)


def read_text(text: str, where: str = "text") -> Reading:
    """Read a text. Raises OperatorError E7101 or E7103."""
    lines = _BREAK.split(text)
    if len(lines) > LINES_MAX:
        raise OperatorError("E7101", f"{where}: more than {LINES_MAX} lines", "give the running configuration alone")
    with _uncollected():
        reading = _Reader(lines).read()
    if reading.lines and not any(map(_familiar, reading.lines)):
        first = reading.lines[0]
        raise OperatorError(
            "E7103",
            f"{where}: nothing of Cisco IOS in it; line {first.number}: {first.text[:60]!r}",
            "expected lines such as `interface ...`, `ip nat inside` or `ip nat inside source ...`",
        )
    return reading


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles: reading makes none, and keeps nearly all that it makes.

    The collector would go through all of it again and again while it grows: a fifth of the time of a big text.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def enter_line(state: State, number: int, text: str) -> Line:
    """One line more, as typed at a prompt, after those that made `state`."""
    line = Line(number, text.rstrip())
    reader = _Reader([])
    reader.take(state, words.read_line(number, text), line)
    return line


_KNOWN = re.compile(
    r"(?:no |default )?(?:hostname|interface|int|ip|ipv6|access-list|route-map|router|vrf|line|service|version|enable|"
    r"conf\w*|exit|end|banner|username|aaa|logging|snmp-server|ntp|crypto|class-map|policy-map|permit|deny|remark|"
    r"shutdown|description|write|switchport|vlan|spanning-tree|object-group|boot|building|current|standby|redundancy|"
    r"zone|address|match|set|encapsulation)\b",
    re.IGNORECASE,
)


def _familiar(line: Line) -> bool:
    """Whether a line is NAT, was refused with a word, or begins as IOS's do."""
    if line.kind is not Kind.PASSED_OVER or line.why in ("comment", "exec", "read"):
        return True
    return _KNOWN.match(line.text.strip()) is not None


_HEADS: dict[str, Handler] = {
    "interface": open_interface,
    "access-list": read_numbered,
    "route-map": open_route_map,
    "object-group": open_group,
    "vrf": open_vrf,
}
"""First word -> who takes the line, whatever stood before it. A word may be cut to three letters or more."""

# Commands that are not an interface's: they end its block where nothing is indented.
_GLOBAL = frozenset(
    ("router", "line", "class-map", "policy-map", "control-plane", "controller", "key", "banner", "aaa", "hostname",
     "username", "snmp-server", "ntp", "logging", "zone", "zone-pair", "parameter-map", "vlan", "dial-peer", "event",
     "version", "boot-start-marker", "spanning-tree", "archive", "sdwan", "system", "policy", "security", "omp", "mac",
     "ipv6", "crypto", "track", "alias", "enable", "license")
)  # fmt: skip
_GLOBAL_IP = frozenset(
    ("route", "access-list", "prefix-list", "domain", "domain-name", "domain-lookup", "name-server", "host", "http",
     "ssh", "forward-protocol", "classless", "subnet-zero", "default-gateway", "community-list", "as-path", "sla",
     "multicast-routing", "tftp", "ftp", "scp", "local", "bgp-community", "dns", "finger", "source-route", "cef")
)  # fmt: skip
_EXEC = re.compile(
    r"(?:show|sh|clear|cle|debug|undebug|un|ping|traceroute|write|wr|copy|reload|terminal|term|telnet|do|dir|test)$"
)
_FILL_IN = re.compile(r"\[[\w ./|-]+\]|<[\w ./|-]+>|\{\{?[\w ./|-]+\}")


class _Reader:
    """One reading of one text."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._diff = words.is_diff(lines)
        self._state = State()

    def take(self, state: State, command: Command, line: Line) -> None:
        """Go on from another reading's state with one line."""
        self._state = state
        self._one(command, line)

    def read(self) -> Reading:
        found: list[Line] = []
        banner_end = 0
        for number, raw in enumerate(self._lines, 1):
            if not raw or raw.isspace():
                continue
            if number <= banner_end:
                found.append(Line(number, raw.rstrip()[: words.LENGTH_MAX], why="banner"))
                continue
            if len(raw) > words.LENGTH_MAX:
                found.append(_too_long(number, raw))
                continue
            line = Line(number, raw.rstrip())
            found.append(line)
            command = words.read_line(number, raw, diff=self._diff)
            if command.words[:1] and command.words[0].lower() == "banner":
                banner_end = self._banner_end(number, command)
                self._state.mode = None
                line.why = "banner"
                continue
            self._one(command, line)
        self._settle(found)
        return Reading(self._state.running.frozen(), tuple(found), self._state.running)

    def _banner_end(self, number: int, command: Command) -> int:
        """The last line of a banner; its own line where no end is in sight."""
        # The mark may be what a comment begins with elsewhere.
        said = command.text.split(None, 2)
        if len(said) < 3:
            return number
        mark = said[2][:2] if said[2].startswith("^") else said[2][:1]
        if mark in said[2][len(mark) :]:
            return number
        for offset in range(number, min(number + _BANNER_MAX, len(self._lines))):
            if mark in self._lines[offset]:
                return offset + 1
        return number

    def _one(self, command: Command, line: Line) -> None:
        if command.removed:
            line.why = "removed"
            return
        if not command.words:
            line.why = "comment" if command.comment else "prompt"
            at = command.comment.lower().find("ip nat ")
            if at >= 0 and _FILL_IN.search(command.comment, at):
                reason = "a comment shows a command with values to be filled in: this is a template"
                line.refuse(Refusal(Fault.PLACEHOLDER, reason, command.start + at + 1))
            return
        negated = command.words[0].lower() == "no" and len(command.words) > 1
        said = command.words[1:] if negated else command.words
        try:
            self._command(command, said, negated, line)
        except Unfit as unfit:
            fault = Fault.PLACEHOLDER if unfit.placeholder else Fault.SYNTAX
            message = "" if unfit.placeholder else unfit.message
            line.refuse(Refusal(fault, str(unfit), command.column(unfit.index + negated), message))

    def _command(self, command: Command, said: Words, negated: bool, line: Line) -> None:
        state = self._state
        first = said[0].lower()
        if first == "ip" and len(said) > 1 and said[1].lower() == "nat":
            enter_nat(state, command, said, negated, line)
            return
        if first == "default" and [word.lower() for word in said[1:3]] == ["ip", "nat"]:
            raise Unfit(0, "`default` depends on the router's release: write `no`, or the value", "")
        if command.prompt is Prompt.EXEC or _EXEC.match(first):
            line.why = "exec"
            state.mode = None
        elif first in ("exit", "end", "quit") or (first.startswith("conf") and len(said) <= 2):
            state.mode = None
        elif (vendor := self._vendor(command)) is not None:
            line.refuse(Refusal(Fault.FOREIGN, f"this is {vendor}, not Cisco IOS", command.start + 1))
        else:
            _refuse_slip(said)
            handler = _head(state, first, said) or state.mode
            if handler is in_interface and _left(state, command, first, said):
                handler = state.mode = None
            if handler is not None:
                handler(state, command, said, negated, line)

    def _vendor(self, command: Command) -> str | None:
        """Whose language a line is, where it can only be the start of a command."""
        if command.indent or self._state.mode not in (None, in_interface):
            return None
        return vendor_of(command.text)

    def _settle(self, found: list[Line]) -> None:
        """Lists, route-maps and groups that a rule reaches are NAT."""
        running = self._state.running
        maps = reached_maps(running)
        lists = reached_lists(running, maps)
        reached = {"route-map": maps, "list": lists, "object-group": reached_groups(running, lists)}
        for line in found:
            if line.belongs is None:
                continue
            kind, name = line.belongs
            if name in reached[kind]:
                if line.kind is not Kind.REFUSED:
                    line.kind, line.why = Kind.NAT, ""
            elif line.refusal is None or line.refusal.fault is not Fault.PLACEHOLDER:
                line.kind, line.why, line.refusal = Kind.PASSED_OVER, "unused", None


def _head(state: State, first: str, said: Words) -> Handler | None:
    """Who takes a line that begins something of its own."""
    second = said[1].lower() if len(said) > 1 else ""
    if first == "ip":
        if len(second) >= 3 and "access-list".startswith(second) and len(said) > 2:
            return open_list
        if second == "route":
            return read_route
        return open_vrf if second == "vrf" and len(said) > 2 and not "forwarding".startswith(said[2].lower()) else None
    if first == "crypto":
        return open_crypto_map if second == "map" and state.mode is not in_interface else None
    if first == "vrf" and "forwarding".startswith(second):
        return None
    if first in _HEADS:
        return _HEADS[first]
    if len(first) < 3 or len(said) < 2:
        return None
    name = next((head for head in _HEADS if head.startswith(first)), None)
    if name == "access-list" and (len(said) < 3 or said[2].lower()[:2] not in ("pe", "de", "re")):
        return None
    return _HEADS[name] if name is not None else None


def _left(state: State, command: Command, first: str, said: Words) -> bool:
    """Whether a line ends the interface's block, as a global command does on a router."""
    if command.prompt is Prompt.INTERFACE or (state.indented and command.indent > state.header_indent):
        return False
    if first == "ip":
        return len(said) > 1 and said[1].lower() in _GLOBAL_IP
    return first in _GLOBAL


def _too_long(number: int, raw: str) -> Line:
    line = Line(number, raw[:80].rstrip())
    if raw[:80].split(None, 2)[:2] == ["ip", "nat"]:
        reason = f"longer than {words.LENGTH_MAX} characters"
        line.refuse(Refusal(Fault.SYNTAX, reason, words.LENGTH_MAX, INVALID))
    return line


_SLIPS = frozenset(("nta", "ant", "atn", "tan", "nt", "at", "natt", "naat", "nnat", "nat:", "bat", "mat", "nay", "nar"))


def _refuse_slip(said: Words) -> None:
    """`ip nta inside source`: a slip of the finger would otherwise be passed over in silence."""
    if len(said) < 3 or said[0].lower() != "ip":
        return
    second, third = said[1].lower(), said[2].lower()
    if third not in ("inside", "outside", "pool", "source", "translation"):
        return
    if second == "na":
        raise Unfit(1, "'na' may be name-server, nat", slots.AMBIGUOUS.format(" ".join(said[:2])))
    if second in _SLIPS:
        raise Unfit(1, f"{said[1]!r}: did you mean nat?")
