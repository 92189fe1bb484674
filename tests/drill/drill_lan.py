"""Two hosts on a switch, in a sandbox: just enough network to calibrate the probes against."""

import socket
import subprocess
import time
from dataclasses import dataclass

from understudy.drill.board import Board, Cell
from understudy.drill.sockets import open_tap, stamp
from understudy.drill.wireprobe import DatagramFlow, Tap, WireProbe, asker_for
from understudy.lab.namespace import Namespace


def shell(namespace: Namespace, program: str, script: str) -> None:
    """Give a program its script inside a namespace; raises if it complains."""
    namespace.run(subprocess.run, program.split(), input=script, text=True, check=True, capture_output=True, timeout=10)


@dataclass
class Lan:
    switch: Namespace
    alice: Namespace
    bob: Namespace


def lan() -> Lan:
    """`alice` is 192.0.2.1, `bob` 192.0.2.2; their ports on the bridge are named after them."""
    switch, alice, bob = (Namespace.create(name) for name in ("switch", "alice", "bob"))
    lines = ["link add name br0 type bridge mcast_snooping 0", "link set br0 up"]
    for host in (alice, bob):
        lines += [
            f"link add {host.name} type veth peer name eth0 netns /proc/self/fd/{host.fd}",
            f"link set {host.name} master br0 up",
        ]
    switch.run(
        subprocess.run,
        ["ip", "-batch", "-"],
        input="\n".join(lines),
        text=True,
        check=True,
        pass_fds=(alice.fd, bob.fd),
        timeout=10,
    )
    for number, host in ((1, alice), (2, bob)):
        shell(host, "ip -batch -", f"addr add 192.0.2.{number}/24 dev eth0\nlink set eth0 up\nlink set lo up")
    return Lan(switch, alice, bob)


def datagrams(network: Lan, ways: tuple[str, ...] = ("there", "back")) -> list[DatagramFlow]:
    flows = []
    for name in ways:
        source, target, address = (
            (network.alice, network.bob, "192.0.2.2") if name == "there" else (network.bob, network.alice, "192.0.2.1")
        )
        receiver = target.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind((address, 0))
        stamp(receiver)
        sender = source.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flows.append(DatagramFlow(name, sender, receiver.getsockname(), receiver))
    return flows


def wire_probe(network: Lan, board: Board, ask: str = "192.0.2.2") -> WireProbe:
    """Datagrams both ways, alice asking for bob's address, bob's port tapped."""
    asker = network.alice.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    asker.bind(("eth0", 0))
    tap = network.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    open_tap(tap, "bob")
    return WireProbe(datagrams(network), [asker_for(asker, ask)], [Tap("bob", "lan", tap)], board)


def wait_until_ready(board: Board, cell: Cell) -> None:
    for _ in range(1000):
        if board[cell]:
            return
        time.sleep(0.01)
    raise AssertionError(f"{cell.name} never came")
