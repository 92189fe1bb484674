"""What is heard on a LAN: an advertisement that is the same byte by byte is understood once."""

import socket
from ipaddress import ip_address
from typing import cast

from understudy.adapters.channel import Channel
from understudy.agent.lans import Lan
from understudy.agent.listener import Listener
from understudy.core.events import Event, VrrpReceived
from understudy.core.settings import NodeSettings
from understudy.units import MILLISECOND, NetworkName, NodeName, Priority, Vrid
from understudy.wire.vrrp import Advertisement, advertisement_frame, decode_packet, virtual_mac

INSIDE, OUTSIDE = NetworkName("inside"), NetworkName("outside")
SETTINGS = NodeSettings(NodeName("gw1"), 1, bytes(16), (INSIDE,), (), (), (), (), {}, 100 * MILLISECOND)
SOURCE, VIRTUAL = ip_address("10.9.0.2"), ip_address("10.9.0.254")


def frame(priority: int = 100) -> bytes:
    said = Advertisement(Vrid(1), Priority(priority), 10, (VIRTUAL,), 4)
    return advertisement_frame(said, SOURCE, virtual_mac(Vrid(1), 4))


class Cable:
    """Stands for a port that brings these frames, one after the other."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.frames: list[bytes] = []

    def receive(self) -> bytes | None:
        return self.frames.pop(0) if self.frames else None


def test_an_advertisement_that_repeats_is_the_same_event_and_any_other_is_not() -> None:
    """Per LAN. What differs in one bit is read anew, and dropped if it is no advertisement any more."""
    fed: list[Event] = []
    dropped: list[str] = []
    cables = {INSIDE: Cable(), OUTSIDE: Cable()}
    lans = {
        name: Lan(name, number, cast("object", cable), {}, None)  # type: ignore[arg-type]  # a stand-in
        for number, (name, cable) in enumerate(cables.items())
    }
    listener = Listener(SETTINGS, lans, Channel(bytes(32), 1, 1, frozenset()), fed.append, dropped.append)

    def hear(network: NetworkName, *frames: bytes) -> list[VrrpReceived]:
        fed.clear()
        cables[network].frames += frames
        assert listener.read(cables[network].socket)
        return [event for event in fed if isinstance(event, VrrpReceived)]

    bent = bytearray(frame())
    bent[24] ^= 1  # the checksum of the IP header
    first, again, other, back = hear(INSIDE, frame(), frame(), bytes(bent), frame(200), frame())
    assert first is again
    assert first == back
    assert [decode_packet(event.packet).priority for event in (first, other, back)] == [100, 200, 100]
    assert len(dropped) == 1
    (elsewhere,) = hear(OUTSIDE, frame())
    assert (elsewhere.network, elsewhere.packet) == (OUTSIDE, first.packet)
    for cable in cables.values():
        cable.socket.close()
