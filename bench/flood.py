"""What a flood does to a pair: role changes, lost packets of a stream through it, CPU, what was counted.

    python bench/flood.py [--rate 100000] [--seconds 10] [--only NAME] [--advertise 100ms] [--defence off] [--json FILE]

A real pair of agents in a sandbox, a stream of 1 000 datagrams a second from inside to outside and back, and one host of
the outside LAN that floods: whole frames from a packet socket that passes the queueing discipline by
(PACKET_QDISC_BYPASS), 64 with one `sendmmsg`. Generators, both nodes, switch and stream share this machine's CPUs, which
a real attacker would not: what the pair bears here it bears the more on its own machine. `--defence off` is the control:
the same agents with filters that shed nothing.
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from understudy.adapters.channel import MAGIC, PORT, Channel
from understudy.agent import client
from understudy.config import load_plan
from understudy.lab import sandbox
from understudy.lab.build import Lab
from understudy.units import Priority, Vrid
from understudy.wire import arp
from understudy.wire.checksum import checksum
from understudy.wire.frame import ETHERTYPE_IPV4, ethernet_frame, ip_packet
from understudy.wire.vrrp import GROUP_IPV4, PROTOCOL, Advertisement, encode, virtual_mac

ROOT = Path(__file__).resolve().parents[1]
NODES = ("gw1", "gw2")
BATCH = 64
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
GROUP_MAC = bytes.fromhex("01005e000012")
VRID = Vrid(31)
STREAM_PERIOD_S = 0.001
TICKS = os.sysconf("SC_CLK_TCK")
Frames = list[bytes]


# --- the generator


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iovec", ctypes.POINTER(_Iovec)),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int64),
        ("sent", ctypes.c_uint64),
    )  # the compiler pads `flags` and `sent` to 8 bytes


class Batch:
    """Frames that leave with one system call, over and over."""

    def __init__(self, sock: socket.socket, frames: Frames) -> None:
        chosen = [frames[i % len(frames)] for i in range(BATCH)]
        self._fd = sock.fileno()
        self._buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in chosen]
        self._vectors = (_Iovec * BATCH)(*((ctypes.addressof(b), len(b)) for b in self._buffers))
        self._messages = (_Message * BATCH)()
        for message, vector in zip(self._messages, self._vectors, strict=True):
            message.iovec, message.iovec_count = ctypes.pointer(vector), 1
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self) -> int:
        return max(0, int(self._sendmmsg(self._fd, self._messages, BATCH, 0)))


def generate(sock: socket.socket, frames: Frames, rate: int, seconds: float) -> int:
    """Send `frames` in turn at `rate` a second, or as fast as it goes; the number that left."""
    batches = [Batch(sock, frames[at : at + BATCH]) for at in range(0, min(len(frames), 64 * BATCH), BATCH)]
    begun = time.monotonic()
    sent = turn = 0
    while (elapsed := time.monotonic() - begun) < seconds:
        if sent < elapsed * rate:
            sent += batches[turn % len(batches)].send()
            turn += 1
        else:
            time.sleep(0.0002)
    return sent


# --- what is sent


def vrrp(source: IPv4Address, priority: int, mac: bytes, *, broken: bool = False) -> bytes:
    message = encode(Advertisement(VRID, Priority(priority), 10, (IPv4Address("203.0.113.10"),), 4), source, GROUP_IPV4)
    if broken:
        message = message[:6] + os.urandom(2) + message[8:]
    return ethernet_frame(GROUP_MAC, mac, ETHERTYPE_IPV4, ip_packet(source, GROUP_IPV4, PROTOCOL, message))


def udp(source: IPv4Address, target: IPv4Address, mac: bytes, from_mac: bytes, payload: bytes, port: int = 0) -> bytes:
    port = port or int.from_bytes(os.urandom(2), "big") | 1024
    header = port.to_bytes(2, "big") + PORT.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
    summed = int(source) + int(target) + 17 + 8 + len(payload)
    whole = header + checksum(header + b"\0\0" + payload, summed).to_bytes(2, "big") + payload
    return ethernet_frame(mac, from_mac, ETHERTYPE_IPV4, ip_packet(source, target, 17, whole))


@dataclass(frozen=True, slots=True)
class Scene:
    """Who stands where on the outside LAN."""

    key: bytes
    attacker: IPv4Address
    attacker_mac: bytes
    nodes: dict[str, tuple[IPv4Address, bytes]]

    def others(self) -> Iterator[IPv4Address]:
        for number in range(2 * BATCH):
            yield IPv4Address("203.0.113.20") + number


def forged(scene: Scene) -> Frames:
    return [vrrp(scene.attacker, 254, scene.attacker_mac)]


def forged_many(scene: Scene) -> Frames:
    return [vrrp(source, 254, scene.attacker_mac) for source in scene.others()]


def spoofed(scene: Scene) -> Frames:
    return [vrrp(address, 254, scene.attacker_mac) for address, _ in scene.nodes.values()]


def stolen_mac(scene: Scene) -> Frames:
    """Whoever sends from the virtual MAC takes its traffic at the switch, whatever the frames say: no agent can help."""
    return [vrrp(scene.attacker, 254, virtual_mac(VRID, 4))]


def junk(scene: Scene) -> Frames:
    return [vrrp(source, 254, scene.attacker_mac, broken=True) for source in scene.others()]


def noise(scene: Scene) -> Frames:
    return [
        udp(scene.attacker, address, mac, scene.attacker_mac, os.urandom(90))
        for _ in range(4 * BATCH)
        for address, mac in scene.nodes.values()
    ]


def spoofed_datagrams(scene: Scene) -> Frames:
    """Also from the peer's port: nothing that a filter sees tells them from genuine ones."""
    return forged_datagrams(scene, PORT)


def forged_datagrams(scene: Scene, port: int = 0) -> Frames:
    """With the peer's address, our key's number, and everything else that can be seen on a cable."""
    frames: Frames = []
    (gw1, gw1_mac), (gw2, gw2_mac) = scene.nodes.values()
    for source, target, mac, number in ((gw1, gw2, gw2_mac, 2), (gw2, gw1, gw1_mac, 1)):
        honest = Channel(scene.key, 3 - number, 1 << 31, frozenset({number}))
        for _ in range(4 * BATCH):
            datagram = honest.seal(bytes(60), number, 0)
            frames.append(udp(source, target, mac, scene.attacker_mac, datagram[:-1] + bytes([datagram[-1] ^ 1]), port))
    assert frames[0][42:46] == MAGIC
    return frames


def answers(scene: Scene) -> Frames:
    return [
        arp.encode(arp.ArpMessage(arp.Operation.REPLY, scene.attacker_mac, source, mac, address), mac)
        for source in scene.others()
        for address, mac in scene.nodes.values()
    ]


FLOODS: dict[str, Callable[[Scene], Frames]] = {
    "nothing": lambda scene: [],
    "vrrp-forged": forged,
    "vrrp-many-sources": forged_many,
    "vrrp-spoofed": spoofed,
    "vrrp-stolen-mac": stolen_mac,
    "vrrp-junk": junk,
    "heartbeat-noise": noise,
    "heartbeat-forged": forged_datagrams,
    "heartbeat-spoofed": spoofed_datagrams,
    "arp-answers": answers,
    "control": lambda scene: [],
}


def babble(paths: list[Path], seconds: float) -> int:
    """Connections to the control sockets, as fast as one process makes them: garbage, half requests, whole ones."""
    words = (b"\xff" * 5000 + b"\n", b'{"command": "sta', b'{"command": "status"}\n', b"{}\n")
    end, sent = time.monotonic() + seconds, 0
    held: list[socket.socket] = []
    while time.monotonic() < end:
        for path in paths:
            each = socket.socket(socket.AF_UNIX)
            each.settimeout(0.2)
            with contextlib.suppress(OSError):
                each.connect(str(path))
                each.send(words[sent % len(words)])
                sent += 1
            held.append(each)
        while len(held) > 200:
            held.pop(0).close()
    return sent


# --- what is measured


def stream(
    sender: socket.socket, receiver: socket.socket, target: tuple[str, int], stop: Callable[[], bool]
) -> tuple[int, int]:
    """A thousand datagrams a second, echoed: sent and come back."""
    sent = back = 0
    begun = time.monotonic()
    for each in (sender, receiver):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    quiet_at = 0.0
    while not quiet_at or time.monotonic() < quiet_at:
        if not quiet_at and stop():
            quiet_at = time.monotonic() + 0.3
        while not quiet_at and sent < (time.monotonic() - begun) / STREAM_PERIOD_S:
            with contextlib.suppress(BlockingIOError):
                sender.sendto(sent.to_bytes(8, "big"), target)
            sent += 1
        with contextlib.suppress(OSError):
            while True:
                data, source = receiver.recvfrom(64)
                receiver.sendto(data, source)
        with contextlib.suppress(OSError):
            while sender.recv(64):
                back += 1
        time.sleep(0.0005)
    return sent, back


def cpu_s(pids: tuple[int, ...]) -> dict[str, float]:
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            found[f"{name}-{pid}"] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def in_child(body: Callable[[], Any]) -> tuple[int, int]:
    """Fork; the child writes what `body` returns as JSON to a pipe."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        os.write(theirs, json.dumps(body()).encode())
        os._exit(0)
    os.close(theirs)
    return pid, ours


def outcome(child: tuple[int, int]) -> Any:
    with open(child[1], "rb") as pipe:
        text = pipe.read()
    os.waitpid(child[0], 0)
    return json.loads(text)


def status(lab: Lab, node: str) -> dict[str, Any]:
    """Asked patiently: a flooded control socket answers late."""
    for _ in range(50):
        with contextlib.suppress(Exception):
            return client.ask(lab.run_dir(node) / client.SOCKET, "status")
        time.sleep(0.2)
    return {
        "dropped": {},
        "groups": [{"role": "gone", "transitions": -1, "peers": [{"heard": False}]}],
        "timer_late_ms_max": -1,
    }


def lines(lab: Lab, node: str) -> list[dict[str, Any]]:
    path = lab.run_dir(node) / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_one(lab: Lab, scene: Scene, name: str, rate: int, seconds: float, generators: int) -> dict[str, Any]:
    stop_in, stop_out = os.pipe()
    inside = lab.namespaces["client-inside"].socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside = lab.namespaces["client-outside"].socket(socket.AF_INET, socket.SOCK_DGRAM)
    outside.bind((str(scene.attacker), 7007))
    deadline = time.monotonic() + 30
    while True:  # a pair at rest
        found = [status(lab, node) for node in NODES]
        if sorted(s["groups"][0]["role"] for s in found) == ["active", "backup"] and all(
            s["groups"][0]["peers"][0]["heard"] for s in found
        ):
            break
        assert time.monotonic() < deadline, [s["groups"] for s in found]
        time.sleep(0.1)
    os.set_blocking(stop_in, False)

    def stopped() -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(stop_in, 1))
        return False

    flowing = in_child(lambda: stream(inside, outside, (str(scene.attacker), 7007), stopped))
    time.sleep(0.5)
    before = {node: (status(lab, node), lines(lab, node), cpu_s(lab.agent_pids(node))) for node in NODES}
    frames = FLOODS[name](scene)
    children = []
    begun = time.monotonic()
    for _ in range(generators if frames else 0):
        wire = lab.namespaces["client-outside"].socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", 0))
        wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        children.append(in_child(lambda wire=wire: generate(wire, frames, rate // generators, seconds)))
    if name == "control":
        children.append(in_child(lambda: babble([lab.run_dir(node) / client.SOCKET for node in NODES], seconds)))
    while time.monotonic() - begun < seconds:
        time.sleep(0.2)
    sent = sum(outcome(child) for child in children)
    took = time.monotonic() - begun
    used = {node: cpu_s(lab.agent_pids(node)) for node in NODES}
    time.sleep(0.5)
    os.write(stop_out, b"x")
    probes, back = outcome(flowing)
    row: dict[str, Any] = {
        "flood": name,
        "asked_per_s": rate if frames else 0,
        "sent_per_s": round(sent / took),
        "seconds": round(took, 2),
        "stream_sent": probes,
        "stream_lost": probes - back,
        "load_1m": os.getloadavg()[0],
        "role_changes": 0,
    }
    for node in NODES:
        old, old_lines, old_cpu = before[node]
        new, new_lines = status(lab, node), lines(lab, node)[len(old_lines) :]
        counted = Counter(new["dropped"])
        counted.subtract(old["dropped"])
        row["role_changes"] += sum(line["kind"] == "moved" for line in new_lines)
        row[node] = {
            "role": new["groups"][0]["role"],
            "cpu_percent": {
                each.rpartition("-")[0]: round(100 * (spent - old_cpu.get(each, 0)) / took)
                for each, spent in used[node].items()
            },
            "timer_late_ms_max": round(new["timer_late_ms_max"], 1),
            "dropped": {reason: count for reason, count in counted.items() if count},
            "journal": dict(Counter(line["kind"] for line in new_lines)),
            "moves": [
                f"{line['old']} to {line['new']}: {line['cause']}" for line in new_lines if line["kind"] == "moved"
            ],
        }
    for each in (inside, outside):
        each.close()
    return row


def shed_nothing() -> None:
    """The control: filters that never close, nothing dropped at the ports' ingress, control clients without end."""
    from understudy.adapters import sieve
    from understudy.agent import control
    from understudy.render import node

    sieve.BUDGET = dict.fromkeys(sieve.BUDGET, 1 << 60)
    control.CLIENTS_A_SECOND = 1 << 60
    node.with_flood = lambda lease, *_: lease


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=100_000, help="frames a second, all generators together")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--only", choices=list(FLOODS), action="append")
    parser.add_argument("--advertise", default="100ms")
    parser.add_argument("--defence", choices=["on", "off"], default="on")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    def inside(report: Callable[[dict[str, Any]], None]) -> None:
        with tempfile.TemporaryDirectory() as state:
            text = (
                (ROOT / "examples/pair.yaml").read_text().replace("advertise: 100ms", f"advertise: {options.advertise}")
            )
            file = Path(state) / "pair.yaml"
            file.write_text(text)
            if options.defence == "off":
                shed_nothing()
            lab = Lab(load_plan(file), Path(state))
            lab.up()
            hosts = {name: lab.topology.port(name, "outside") for name in (*NODES, "client-outside")}
            places = {name: (IPv4Address(port.addresses[0].ip), port.mac) for name, port in hosts.items()}
            attacker, mac = places.pop("client-outside")
            scene = Scene(lab.key, attacker, mac, places)
            for name in options.only or FLOODS:
                report(
                    {
                        "defence": options.defence,
                        "advertise": options.advertise,
                        **run_one(lab, scene, name, options.rate, options.seconds, options.generators),
                    }
                )
            lab.down()
            report({})

    rows = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with sandbox.start(inside) as told:
        while row := told.receive(options.seconds + 120):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
