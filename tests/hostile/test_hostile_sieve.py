"""The filters that shed a flood, in a real kernel: one kind's flood leaves the others alone, and it ends."""

import os
import socket
from ipaddress import IPv4Address, ip_address

import pytest
from hostile_frames import Scene, arp_reply, message, multicast

from understudy.adapters import sieve
from understudy.adapters.channel import MAGIC, PORT
from understudy.adapters.datagram import ChannelSocket
from understudy.adapters.packet import Port
from understudy.adapters.sieve import BUDGET, Kind
from understudy.lab import sandbox
from understudy.lab.netlink import RouteSocket, set_up

STRANGER, PEER = IPv4Address("203.0.113.100"), IPv4Address("203.0.113.2")
NODE = IPv4Address("203.0.113.1")
SCENE = Scene(STRANGER, bytes.fromhex("020000000001"), NODE, bytes.fromhex("020000000002"), 1, bytes(32))
FLOOD = 12_000
KEY_ID = b"key1"


def ports() -> tuple[Port, Port]:
    """A node's port and the far end of its cable."""
    os.system("ip link add near type veth peer name far && ip link set near up && ip link set far up")
    near, far = Port("near", frozenset({4}), {PEER}), Port("far", frozenset())
    drain(near)
    return near, far


def drain(port: Port) -> list[bytes]:
    """All that comes through, each look a bounded one."""
    found = []
    for _ in range(100):
        while (frame := port.receive()) is not None:
            found.append(frame)
    return found


def flooded(flood: bytes, others: list[bytes]) -> tuple[list[int], int, dict[str, int]]:
    """How many of each of `others` came through among a flood, how many of the flood, and what was shed by name."""
    near, far = ports()
    heard: list[bytes] = []
    for number in range(FLOOD):
        far.send(flood)
        if number % 100 == 50:
            for other in others:
                far.send(other)
            heard += drain(near)
    heard += drain(near)
    return [heard.count(other) for other in others], heard.count(flood), near.sieve.shed


KINDS = {
    Kind.OTHER_VRRP: multicast(SCENE, message()),
    Kind.PEER_VRRP: multicast(SCENE, message(), PEER),
    Kind.ANSWER: arp_reply(SCENE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_one_kind_displaces_none_of_the_others(kind: Kind) -> None:
    """Each kind in turn, 12 000 at once, and 120 of every other kind among them: all of those arrive."""
    others = [frame for each, frame in KINDS.items() if each is not kind]
    came, passed, shed = sandbox.run(lambda: flooded(KINDS[kind], others))
    assert came == [FLOOD // 100] * len(others)
    assert passed < FLOOD // 2
    assert shed.keys() == {f"flood-{kind}"}


def test_without_budgets_everything_is_looked_at() -> None:
    """The control of the test above: its flood is one, and it is the budget that sheds."""

    def story() -> tuple[list[int], int, dict[str, int]]:
        sieve.BUDGET = dict.fromkeys(BUDGET, 1 << 60)
        return flooded(KINDS[Kind.OTHER_VRRP], [KINDS[Kind.PEER_VRRP]])

    assert sandbox.run(story) == ([FLOOD // 100], FLOOD, {})


def seconds(port: Port, number: int) -> list[tuple[Kind, bool]]:
    """News of so many seconds, without waiting for them."""
    told = []
    for _ in range(number):
        port.sieve._turns_at = 1
        told += port.sieve.news()
    return told


def test_a_filter_opens_again_when_the_flood_is_over_and_says_so_once() -> None:
    """Begin and end are told, each once; afterwards every frame comes through as before."""

    def story() -> tuple[list[tuple[Kind, bool]], int]:
        near, far = ports()
        for number in range(FLOOD):
            far.send(KINDS[Kind.OTHER_VRRP])
            if not number % 50:
                drain(near)
        drain(near)
        told = seconds(near, 10)
        for _ in range(50):
            far.send(KINDS[Kind.OTHER_VRRP])
        return told, len(drain(near))

    told, heard = sandbox.run(story)
    assert told == [(Kind.OTHER_VRRP, True), (Kind.OTHER_VRRP, False)]
    assert heard == 50


def test_a_core_that_was_forked_anew_opens_what_the_one_before_had_narrowed() -> None:
    """The socket and its filter are inherited, what was counted is not."""

    def story() -> int:
        near, far = ports()
        child = os.fork()
        if not child:
            for number in range(FLOOD):
                far.send(KINDS[Kind.OTHER_VRRP])
                if not number % 50:
                    drain(near)
            os._exit(0)
        os.waitpid(child, 0)
        near.sieve.news()
        drain(near)
        for _ in range(50):
            far.send(KINDS[Kind.OTHER_VRRP])
        return len(drain(near))

    assert sandbox.run(story) == 50


def channel_story(own: str, peer: str, strangers: str) -> tuple[int, int, dict[str, int]]:
    """Heartbeats among noise from other addresses, other ports and other keys: heard of both, and what was shed."""
    loopback = RouteSocket()
    loopback.commit([set_up(1, up=True, subject="lo")])
    if ":" in own:
        os.system(f"ip addr add {peer}/128 dev lo nodad; ip addr add {strangers}/128 dev lo nodad")
    end = ChannelSocket(ip_address(own), "lo", ip_address(peer), KEY_ID)
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    honest, stranger, wrong_port = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(3))
    honest.bind((peer, PORT))
    stranger.bind((strangers, PORT))
    wrong_port.bind((peer, 0))
    genuine = MAGIC + KEY_ID + bytes(60)
    heard: list[bytes] = []

    def listen() -> None:
        for _ in range(200):
            try:
                heard.append(end.recv(1500))
            except BlockingIOError:
                continue

    for number in range(FLOOD):
        sender = (stranger, wrong_port, honest)[number % 3]
        sender.sendto(MAGIC + b"key2" + bytes(61) if sender is honest else genuine + b"!", (own, PORT))
        if number % 100 == 50:
            honest.sendto(genuine, (own, PORT))
            listen()
    listen()
    return heard.count(genuine), len(heard) - heard.count(genuine), end.sieve.shed


@pytest.mark.parametrize(
    ("own", "peer", "stranger"), [("127.0.0.1", "127.0.0.2", "127.0.0.3"), ("::1", "fd00::2", "fd00::3")]
)
def test_noise_on_the_channels_port_displaces_no_heartbeat(own: str, peer: str, stranger: str) -> None:
    """From another address, from another port of the peer's, or under another key: all of it is the small budget's."""
    genuine, noise, shed = sandbox.run(lambda: channel_story(own, peer, stranger))
    assert genuine == FLOOD // 100
    assert noise < FLOOD // 2
    assert shed.keys() == {"flood-channel-other"}
