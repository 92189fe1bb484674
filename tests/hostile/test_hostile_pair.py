"""A pair of real agents under packets and clients that mean no good: each is counted by name, and no role moves."""

import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from agent_worlds import NODES, ROOT, World, in_lab, other
from hostile_frames import ADDRESS, INTERVAL_CS, ROWS, Scene, datagram, message, multicast

from understudy.agent import client
from understudy.units import SECOND

# Who serves shall not change by itself, also on a machine that is busy with a flood.
INTERVAL_S = INTERVAL_CS / 100
TEXT = (
    (ROOT / "examples" / "pair.yaml")
    .read_text()
    .replace("advertise: 100ms", f"advertise: {10 * INTERVAL_CS}ms")
    .replace("outage: 500ms", "outage: 3s")
)
COPIES = 3
ETH_P_ALL = 3


def scene(world: World, node: str) -> Scene:
    attacker, target = world.lab.topology.port("client-outside", "outside"), world.lab.topology.port(node, "outside")
    return Scene(
        IPv4Address(attacker.addresses[0].ip),
        attacker.mac,
        IPv4Address(target.addresses[0].ip),
        target.mac,
        1 + NODES.index(node),
        world.lab.key,
    )


def wire(world: World) -> socket.socket:
    """A packet socket on the attacker's port."""
    made = world.lab.namespaces["client-outside"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind(("eth0", 0))
    return made


@contextlib.contextmanager
def cables(world: World) -> Iterator[dict[str, socket.socket]]:
    """The far end of each node's cable: no switch in between drops what is malformed, or learns a MAC from it."""
    with contextlib.ExitStack() as held:
        ends = {}
        for node in NODES:
            ends[node] = held.enter_context(world.lab.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            ends[node].bind((world.lab.topology.port(node, "outside").switch_port, 0))
        yield ends


def counted(world: World) -> dict[str, dict[str, int]]:
    return {node: world.status(node)["dropped"] for node in NODES}


def reached(world: World, before: dict[str, dict[str, int]], reason: str, number: int) -> bool:
    now = counted(world)
    return all(now[node].get(reason, 0) - before[node].get(reason, 0) >= number for node in NODES)


@in_lab
def test_every_hostile_frame_is_counted_by_its_name_and_changes_nothing(world: World) -> None:
    """The table in `hostile_frames`, each row to both nodes; what the kernel keeps from them is not counted."""
    moves = world.moves()
    pids = {node: world.pid(node, "core") for node in NODES}
    wrong = []
    with cables(world) as ends:
        for row in ROWS:
            before = counted(world)
            for node in NODES:
                for _ in range(COPIES):
                    ends[node].send(row.build(scene(world, node)))
            if row.reason:
                try:
                    world.until(lambda row=row, before=before: reached(world, before, row.reason, COPIES))
                except AssertionError:
                    now = counted(world)
                    news = {n: {k: v for k, v in now[n].items() if v != before[n].get(k)} for n in NODES}
                    wrong.append(f"{row.name}: expected {row.reason}, counted {news}")
            elif counted(world) != before:
                wrong.append(f"{row.name}: counted, though the kernel should keep it")
    assert not wrong, "\n".join(wrong)
    world.remains(lambda: world.moves() == moves, 1.25 * INTERVAL_S)
    assert {node: world.pid(node, "core") for node in NODES} == pids


@in_lab
def test_a_recorded_heartbeat_played_again_is_counted_and_not_believed(world: World) -> None:
    """Taken from the cable, sent to the same node again, as it was."""
    node = world.standby()
    target = scene(world, node)
    with (
        world.lab.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap,
        wire(world) as sender,
    ):
        tap.bind((world.lab.topology.port(node, "outside").switch_port, ETH_P_ALL))
        tap.settimeout(5)
        for _ in range(1000):
            frame = tap.recv(2048)
            if frame[:6] == target.node_mac and frame[23] == 17 and frame[36:38] == (4112).to_bytes(2, "big"):
                break
        before, moves = world.dropped(node, "channel-replay"), world.moves()
        for _ in range(COPIES):  # the checksum of a captured one is still to be made
            sender.send(datagram(target, frame[42:]))
        world.until(lambda: world.dropped(node, "channel-replay") >= before + COPIES)
    assert world.moves() == moves


@in_lab
def test_other_addresses_under_our_number_are_an_alarm_and_not_a_loss(world: World) -> None:
    """RFC 9568, section 7.1: the advertisement counts, and the operator is told once, not with every packet."""
    begun, moves = time.monotonic_ns(), world.moves()
    node, active = world.standby(), world.active()
    body = message(priority=world.group(active)["priority"], address=ADDRESS + 1)
    with wire(world) as sender:
        for _ in range(5):
            sender.send(multicast(scene(world, node), body, scene(world, active).node))
        found = world.until(lambda: world.events(node, "mismatch", begun))
    assert "address" in found[0]["detail"]
    assert len(world.events(node, "mismatch", begun)) < 5
    assert world.moves() == moves


@in_lab
def test_well_formed_lies_are_counted_once_the_channel_contradicts_them(world: World) -> None:
    """A stranger with the highest priority, the Active's farewell that it never said, and the standby's claim."""
    moves = world.moves()
    own = {node: scene(world, node).node for node in NODES}
    active = world.active()
    lies = (
        (NODES, message(254), scene(world, active).attacker),
        ((other(active),), message(0), own[active]),
        ((active,), message(254), own[other(active)]),
    )
    with cables(world) as ends:
        for nodes, body, source in lies:
            frames = [(ends[node], multicast(scene(world, node), body, source)) for node in nodes]
            before = {node: world.dropped(node, "vrrp-contradicts-channel") for node in nodes}
            begun = time.monotonic()
            while time.monotonic() < begun + 1.25 * INTERVAL_S:  # longer than between two heartbeats
                lie(frames)
            world.until(partial(contradicted, world, before, frames))
    world.remains(lambda: world.moves() == moves, 1.25 * INTERVAL_S)


def lie(frames: Sequence[tuple[socket.socket, bytes]]) -> None:
    for end, whole in frames:
        end.send(whole)
    time.sleep(0.01)


def contradicted(world: World, before: dict[str, int], frames: Sequence[tuple[socket.socket, bytes]]) -> bool:
    """By each node; until then it is told on."""
    lie(frames)
    return all(world.dropped(node, "vrrp-contradicts-channel") > count for node, count in before.items())


@in_lab
def test_ten_thousand_packets_of_all_kinds_move_nothing(world: World) -> None:
    """Rows of the table as they are, with bytes flipped, cut off or appended, and plain noise, in one stream."""
    moves = world.moves()
    pids = {node: world.pid(node, "core") for node in NODES}
    before = counted(world)
    chance = random.Random(20_260_101)
    frames = [(node, row.build(scene(world, node))) for row in ROWS for node in NODES]
    with cables(world) as ends:
        for number in range(10_000):
            node, whole = chance.choice(frames)
            frame = bytearray(whole)
            match number % 4:
                case 1:
                    for _ in range(chance.randint(1, 4)):
                        frame[chance.randrange(14, len(frame)) if len(frame) > 14 else 0] ^= 1 << chance.randrange(8)
                case 2:
                    del frame[chance.randint(14, len(frame)) :]
                case 3:
                    frame += chance.randbytes(chance.randint(1, 1500 - min(len(frame), 1499)))
            with contextlib.suppress(OSError):  # too short or too long for the port
                ends[node].send(bytes(frame[:1514]))
            if not number % 100:
                time.sleep(0.005)
    world.remains(lambda: world.moves() == moves, 0.5)
    for node in NODES:
        world.until(lambda node=node: sum(counted(world)[node].values()) - sum(before[node].values()) > 1000)
    assert {node: world.pid(node, "core") for node in NODES} == pids


@in_lab
def test_a_flood_in_the_nodes_names_moves_nothing_and_ends(world: World) -> None:
    """Advertisements in the peer's and in a stranger's name, faster than any agent reads; then all is as before."""
    moves = world.moves()
    began = time.monotonic_ns()
    with wire(world) as sender:
        frames = [multicast(scene(world, node), message(), scene(world, other(node)).node) for node in NODES]
        frames += [multicast(scene(world, node), message()) for node in NODES]
        for number in range(30_000):
            sender.send(frames[number % len(frames)])
    lasted_s = (time.monotonic_ns() - began) / SECOND
    assert world.moves() == moves
    for node in NODES:
        world.until(
            lambda node=node: world.dropped(node, "flood-vrrp-other") and world.dropped(node, "flood-vrrp-peer")
        )
    for node in NODES:
        told = world.until(partial(floods, world, node, began), 15)
        # A sender that was held up begins another one; and one may have begun before. It is looked at once a second.
        assert [event["detail"] for event in told] == ["only a share is looked at", "over"] * (len(told) // 2)
        assert len([event for event in told if event["t"] >= began]) <= 2 * (2 + lasted_s)
    assert world.moves() == moves


def floods(world: World, node: str, since: int) -> list[dict[str, Any]]:
    """All that was told of them, once the latest is over."""
    told = [event for event in world.events(node, "flood") if event["subject"] == "vrrp-other on outside"]
    return told if told and told[-1]["detail"] == "over" and told[-1]["t"] >= since else []


CLIENTS = {
    "an oversized line": (b"x" * 5000 + b"\n", "control-oversized"),
    "half a request": (b'{"command": "sta', "control-torn"),
    "binary": (b"\x00\xff\xfe\x80\n", "control-json"),
    "deep JSON": (b"[" * 4000 + b"\n", "control-json"),
    "no object": (b"[]\n", "control-request"),
    "a command that is none": (b'{"command": 7}\n', "control-request"),
    "a word that nobody knows": (b'{"command": "reboot"}\n', ""),
    "nothing": (b"", "control-torn"),
}


@in_lab
def test_control_clients_that_mean_no_good_are_counted_and_delay_nobody(world: World) -> None:
    """Each kind of garbage, clients that never read, and more connections than are served; then an honest question."""
    node = world.active()
    path = world.lab.run_dir(node) / client.SOCKET
    moves, pid = world.moves(), world.pid(node, "core")
    for name, (text, reason) in CLIENTS.items():
        before = world.dropped(node, reason)
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(str(path))
            with contextlib.suppress(OSError):  # it may have closed already
                end.sendall(text)
                end.shutdown(socket.SHUT_WR)
        if reason:
            assert world.until(lambda reason=reason, before=before: world.dropped(node, reason) > before), name
    with contextlib.ExitStack() as held:
        for number in range(100):
            end = held.enter_context(socket.socket(socket.AF_UNIX))
            end.connect(str(path))
            end.sendall(json.dumps({"command": "status"}).encode() + b"\n" * (number % 2))  # never read
        world.until(lambda: world.role(node) == "active")
    assert (world.moves(), world.pid(node, "core")) == (moves, pid)
    world.until(lambda: world.dropped(node, "control-displaced"))
