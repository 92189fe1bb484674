"""`nat explain` against real packets: each packet is explained, then sent, and what is seen is compared.

The router is the bed of `understudy nat test`, with the routes of the configuration in its kernel. The explanation
knows the lines, the addresses handed out and the flows that there are, as it does on a running node.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from natrandom import INSIDE, NEITHER, OUTSIDE, Shot, Trial, trial

from understudy.ios.explain import Explanation, explain
from understudy.ios.layout import words_of
from understudy.ios.matching import NUMBERS
from understudy.ios.model import Configuration
from understudy.ios.reader import read_text
from understudy.ios.selecting import Packet
from understudy.lab.namespace import write_sysctl
from understudy.lab.natbed import Bed, batch
from understudy.lab.natcases import Seen, Step

_NETS = {**INSIDE, **OUTSIDE, **NEITHER}
_DIRECTIONS = {"in": "in>out", "out": "out>in", "local": "local>out"}
_FREE = {"port": ("sport", "id"), "turn": ("dst",), "address": ("src",)}
"""What of a packet is not in the lines, by what an explanation calls chosen."""


def differences(told: Explanation, seen: Seen) -> Iterator[str]:
    """What the explanation says and the kernel does not do."""
    if told.verdict != seen.verdict:
        yield f"verdict {told.verdict} ({told.reason}), seen {seen.verdict} {dict(seen.fields)}"
        return
    if told.seen is None:
        return
    expected: dict[str, Any] = {"src": told.seen.source, "dst": told.seen.destination}
    if told.sent.protocol == NUMBERS["icmp"]:
        expected["id"] = told.seen.source_port
    elif "sport" in seen.fields:
        expected |= {"sport": told.seen.source_port, "dport": told.seen.destination_port}
    free = {name for what in told.chosen for name in _FREE[what]}
    for name, value in expected.items():
        if name not in free and str(seen.fields[name]) != str(value):
            yield f"{name} {value} ({told.reason}), seen {seen.fields[name]}"


def agreed(seed: int, packets: int, lines: str = "") -> tuple[int, list[str]]:
    """How many packets of a seed's configuration did as explained, and what the others did. In a sandbox.

    `lines` are read by the router and not by the explanation: a control.
    """
    made = trial(seed, packets)
    bed = _Bed(made, lines)
    wrong: list[str] = []
    fine = 0
    try:
        for number, shot in enumerate(made.shots, 1):
            found = list(_one(bed, made, shot))
            fine += not found
            wrong += [f"seed {seed}, packet {number}, {_words(shot)}: {each}" for each in found]
    finally:
        bed.close()
    return fine, wrong


def _one(bed: "_Bed", made: Trial, shot: Shot) -> Iterator[str]:
    reading = read_text(made.text)
    packet = _packet(shot)
    told = explain(
        reading, shot.side, shot.interface, packet, given=bed.given(), profile=made.profile, table=bed.view().rows
    )
    seen = bed.shoot(shot, told.verdict)
    found = list(differences(told, seen))
    yield from found
    if not found and told.leaving is not None and seen.interface != bed.port(told.leaving):
        yield f"leaves by {bed.port(told.leaving)}, seen on {seen.interface or 'the router itself'}"
    if not found and told.verdict == "translated" and not told.chosen:
        rows = {words_of(row) for row in bed.view().rows}
        yield from (f"no row {' '.join(words_of(row))}" for row in told.rows if words_of(row) not in rows)


def _packet(shot: Shot) -> Packet:
    ends = IPv4Address(shot.source), IPv4Address(shot.destination)
    return Packet(NUMBERS[shot.protocol], *ends, shot.source_port, shot.destination_port)


def _words(shot: Shot) -> str:
    return (
        f"{shot.side} {shot.interface or '-'} {shot.protocol} "
        f"{shot.source}:{shot.source_port} {shot.destination}:{shot.destination_port}"
    )


class _Bed(Bed):
    """A bed whose packets come by a named interface, and whose router routes as its lines say."""

    def __init__(self, made: Trial, more: str) -> None:
        self._by: str | None = None
        super().__init__(made.text + more, (), made.profile)
        self._route(self._configuration)
        # Its answer to an echo would be taken for the echo.
        self._router.run(write_sysctl, "net/ipv4/icmp_echo_ignore_all", 1)

    def shoot(self, shot: Shot, verdict: str) -> Seen:
        """Send it. `verdict` is what is expected: a packet that is to be dropped is not waited for as long."""
        sent: dict[str, Any] = {"src": shot.source, "dst": shot.destination}
        if shot.protocol == "icmp":
            sent |= {"id": shot.source_port, "icmp": "echo-request"}
        elif shot.source_port:
            sent |= {"sport": shot.source_port, "dport": shot.destination_port}
        step = Step(direction=_DIRECTIONS[shot.side], protocol=shot.protocol, sent=sent, expected={"verdict": verdict})
        self._by = shot.interface
        return self.send(step, ())

    def port(self, interface: str) -> str:
        """What the kernel calls an interface of the lines."""
        return self._ports[interface]

    def _arrival(self, source: IPv4Address, step: Step) -> str:
        assert self._by is not None
        return self._ports[self._by]

    def _route(self, configuration: Configuration) -> None:
        lines = []
        for route in configuration.routes:
            name = next(each for each, net in _NETS.items() if str(route.next_hop).startswith(f"{net}."))
            lines.append(f"route replace {route.prefix} dev {self._ports[name]}")
        self._router.run(batch, lines)
