"""What is fuzzed: everything that reads bytes of others. A target takes bytes and raises if a promise is broken.

The promises: nothing but the declared error comes out; what was read and is written again reads the same; a forged
datagram opens nothing; a control client ends nothing. `make fuzz` runs them guided by coverage, `make test` with
Hypothesis and over the corpus.
"""

import contextlib
import json
import select
import socket
import tempfile
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from understudy.adapters.channel import Channel
from understudy.agent.control import BACKLOG, Control, Reply
from understudy.agent.door import Door
from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.drill import journal
from understudy.errors import DecodeError, OperatorError
from understudy.ios.check import check
from understudy.ios.printer import print_configuration
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_bytes as read_ios
from understudy.ios.show import as_json, read_show, tell
from understudy.lab.natrules import ruleset
from understudy.render.ios_nat import render_ios_nat
from understudy.units import Family, Instant
from understudy.wire import arp, conntrack, frame, heartbeat, ndp, vrrp
from understudy.wire.checksum import checksum, pseudo_header_sum

Target = Callable[[bytes], None]
SOURCES: dict[Family, tuple[Any, Any]] = {
    4: (IPv4Address("192.0.2.1"), vrrp.GROUP_IPV4),
    6: (IPv6Address("fe80::1"), vrrp.GROUP_IPV6),
}
MAC = bytes.fromhex("020000000001")
KEY = bytes(range(32))


def vrrp_message(data: bytes) -> None:
    """Both versions, both families; also with the checksum that no fuzzer guesses."""
    vrrp_as_it_is(data)
    vrrp_as_it_is(data[:6] + checksum(data[:6] + b"\0\0" + data[8:]).to_bytes(2, "big") + data[8:])


def vrrp_as_it_is(data: bytes) -> None:
    for family, (source, destination) in SOURCES.items():
        try:
            message = vrrp.decode(data, family=family, source=source, destination=destination)
        except DecodeError:
            continue
        again = vrrp.encode(message, source, destination, pseudo_header=bool(message.pseudo_header))
        assert vrrp.decode(again, family=family, source=source, destination=destination) == message


def vrrp_packet(data: bytes) -> None:
    """A whole frame, as the agent takes it."""
    with contextlib.suppress(DecodeError):
        vrrp.decode_packet(frame.parse_frame(data))


def ip_frame(data: bytes) -> None:
    """Also with the header's checksum set right."""
    ip_frame_as_it_is(data)
    header = data[14:34]
    summed = header[:10] + checksum(header[:10] + b"\0\0" + header[12:]).to_bytes(2, "big") + header[12:]
    ip_frame_as_it_is(data[:14] + summed + data[34:])


def ip_frame_as_it_is(data: bytes) -> None:
    try:
        packet = frame.parse_frame(data)
    except DecodeError:
        return
    whole = frame.ip_packet(packet.source, packet.destination, packet.protocol, packet.payload)
    ethertype = frame.ETHERTYPE_IPV4 if packet.family == 4 else frame.ETHERTYPE_IPV6
    again = frame.parse_frame(frame.ethernet_frame(MAC, MAC, ethertype, whole))
    assert again.payload == packet.payload
    assert (again.source, again.destination, again.protocol) == (packet.source, packet.destination, packet.protocol)


def arp_frame(data: bytes) -> None:
    try:
        message = arp.decode(data)
    except DecodeError:
        return
    assert arp.decode(arp.encode(message, MAC)) == message


def ndp_frame(data: bytes) -> None:
    """Also as a message whose headers and checksum are right."""
    ndp_as_it_is(data)
    source, message = SOURCES[6][0], data[:2] + b"\0\0" + data[4:]
    summed = checksum(message, pseudo_header_sum(source, ndp.ALL_NODES, ndp.ICMPV6, len(message))).to_bytes(2, "big")
    packet = frame.ip_packet(source, ndp.ALL_NODES, ndp.ICMPV6, message[:2] + summed + message[4:])
    ndp_as_it_is(frame.ethernet_frame(MAC, MAC, frame.ETHERTYPE_IPV6, packet))


def ndp_as_it_is(data: bytes) -> None:
    try:
        message = ndp.decode(data)
    except DecodeError:
        return
    if isinstance(message, ndp.NeighborAdvertisement):
        source = IPv6Address("fe80::1")
        destination = source if message.solicited else ndp.ALL_NODES
        packet = frame.ip_packet(
            source, destination, ndp.ICMPV6, ndp.encode_advertisement(message, source, destination)
        )
        assert ndp.decode(frame.ethernet_frame(MAC, MAC, frame.ETHERTYPE_IPV6, packet)) == message


def heartbeat_payload(data: bytes) -> None:
    try:
        message = heartbeat.decode(data)
    except DecodeError:
        return
    again = heartbeat.encode(message.node, message.epoch, message.sequence, heartbeat.encode_body(message.body))
    assert heartbeat.decode(again) == message


def flow_record(data: bytes) -> None:
    """An entry of the other kernel: what is read once more reads the same, and every request names its tuple."""
    with contextlib.suppress(DecodeError):
        conntrack.expect_create_request(data)
        conntrack.expect_delete_request(data)
    try:
        flow = conntrack.decode(data)
    except DecodeError:
        return
    assert conntrack.decode(conntrack.portable(data)) == flow
    assert conntrack.decode(conntrack.build(flow)) == flow
    assert conntrack.bucket_and_digest(conntrack.portable(data)) == conntrack.bucket_and_digest(data)
    named = conntrack.original(data)
    assert conntrack.describe(data)
    for request in (conntrack.create_request, conntrack.update_request, conntrack.delete_request):
        assert request(data)[4:].startswith(named[:20])


class ChannelTarget:
    """A conversation under an attacker who sees all and changes what they like, but has no key.

    The bytes are triples: offset (2 bytes) and what to write there, into a genuine datagram; a last odd byte cuts it.
    """

    def __init__(self) -> None:
        self._a, self._b = Channel(KEY, 1, 7, frozenset({2})), Channel(KEY, 2, 7, frozenset({1}))
        for sender, receiver, number in ((self._a, self._b, 2), (self._b, self._a, 1)) * 2:
            with contextlib.suppress(DecodeError):
                receiver.open(sender.seal(b"", number, 0), 0)

    def __call__(self, data: bytes) -> None:
        genuine = self._a.seal(b"genuine", 2, 0)
        forged = bytearray(genuine)
        for at in range(0, len(data) - 2, 3):
            forged[int.from_bytes(data[at : at + 2], "big") % len(forged)] = data[at + 2]
        if len(data) % 3 == 1:
            del forged[data[-1] :]
        elif len(data) % 3 == 2:
            forged += data
        for datagram, network in ((bytes(forged), 0), (genuine, 1), (data, 0)):
            if (datagram, network) == (genuine, 0):
                continue
            try:
                self._b.open(datagram, network)
            except DecodeError:
                continue
            raise AssertionError("a forged datagram was believed")
        assert self._b.open(genuine, 0) == (1, b"genuine")


def config_file(data: bytes) -> None:
    with contextlib.suppress(Problems):
        load_plan(data)


def ios_text(data: bytes) -> None:
    """Lines of Cisco IOS: read, judged, compiled; what is printed of them reads the same, and prints the same."""
    try:
        reading = read_ios(data)
    except OperatorError:
        return
    check(reading, profile_named("classic"))
    names = {each.name: f"e{number}" for number, each in enumerate(reading.configuration.interfaces)}
    ruleset(render_ios_nat(reading.configuration, names, {}))
    printed = print_configuration(reading.configuration)
    if printed:
        again = read_ios(printed.encode())
        assert not again.refused, again.refused[0]
        assert again.configuration == reading.configuration
        assert print_configuration(again.configuration) == printed


def ios_output(data: bytes) -> None:
    """An output of `show ip nat ...`."""
    with contextlib.suppress(OperatorError):
        shown = read_show(data)
        assert json.dumps(as_json(shown))
        assert tell(shown)


def journal_line(data: bytes) -> None:
    journal.parse(data.decode(errors="replace"))


def control_client(data: bytes) -> None:
    """What one client sends to a real control socket, in two pieces, before an honest one asks."""

    def handle(request: dict[str, Any], answer: Callable[[Reply], None]) -> None:
        answer({"heard": request["command"], "error": f"unknown command {request['command']!r}"})

    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.closing(Door(Path(place) / "control.sock")) as door,
        contextlib.closing(Control(door.listener, handle)) as control,
        socket.socket(socket.AF_UNIX) as hostile,
        socket.socket(socket.AF_UNIX) as honest,
    ):
        door.open(BACKLOG)
        hostile.connect(f"{place}/control.sock")
        with contextlib.suppress(OSError):
            hostile.sendall(data[: len(data) // 2])
            serve(control)
            hostile.sendall(data[len(data) // 2 :])
        honest.connect(f"{place}/control.sock")
        honest.sendall(b'{"command": "status"}\n')
        serve(control)
        honest.settimeout(1)
        assert json.loads(honest.recv(4096))["heard"] == "status"
        hostile.settimeout(0)
        with contextlib.suppress(OSError):
            text = hostile.recv(1 << 16)
            assert not text or isinstance(json.loads(text), dict)


def serve(control: Control) -> None:
    """Until nothing is left to do."""
    for _ in range(200):
        readable, writable, _ = select.select(control.readers(), control.writers(), [], 0)
        if not readable and not writable:
            return
        for which in (*readable, *writable):
            control.ready(which, Instant(0))
    raise AssertionError("the control socket spins")


MAKERS: dict[str, Callable[[], Target]] = {
    "vrrp": lambda: vrrp_message,
    "vrrp-frame": lambda: vrrp_packet,
    "frame": lambda: ip_frame,
    "arp": lambda: arp_frame,
    "ndp": lambda: ndp_frame,
    "heartbeat": lambda: heartbeat_payload,
    "flow": lambda: flow_record,
    "channel": ChannelTarget,
    "config": lambda: config_file,
    "ios": lambda: ios_text,
    "ios-show": lambda: ios_output,
    "journal": lambda: journal_line,
    "control": lambda: control_client,
}
LENGTH_MAX = {"config": 4096, "ios": 2048, "ios-show": 2048, "flow": 1024, "control": 6000, "frame": 2048}
"""Bytes of an input; 512 where nothing is said."""


def corpus(name: str) -> list[Path]:
    return sorted((Path(__file__).parent / "corpus" / name).iterdir())
