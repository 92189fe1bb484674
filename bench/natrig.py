"""A host inside, a router that translates, a host outside: how much goes through, and how many connections begin.

    inside 10.64.0.0 ---- router ---- outside 198.18.0.9

The inside host's address is the first of the static entries; how many stand beside it is what is varied. Segments are
not merged on the way (no GSO, TSO, GRO), so that each packet is translated for itself.
"""

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence

from nattexts import HEAD, global_, local, statics

from understudy.adapters.nftables import Nft
from understudy.errors import EnvironmentFailure
from understudy.ios.reader import read_text
from understudy.lab.namespace import Namespace, write_sysctl
from understudy.lab.natbed import batch
from understudy.lab.natrules import ruleset
from understudy.render.ios_nat import render_ios_nat

OUTSIDE = "198.18.0.9"
PORTS = {"GigabitEthernet0/0": "e0", "GigabitEthernet0/1": "e1"}
_BULK_PORT, _FIRST_PORT, _LISTENERS = 9000, 9001, 4
_CHUNK = 256 * 1024
_SIOCETHTOOL = 0x8946
_OFF = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO
_RESET = struct.pack("ii", 1, 0)
_COUNT = struct.Struct("!Q")


class Rig:
    """Three machines, for use in a sandbox."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.router, self.inside, self.outside = (Namespace.create(name) for name in ("router", "inside", "outside"))
        for host in (self.router, self.inside, self.outside):
            host.run(batch, ["link set lo up"])
        self.router.run(write_sysctl, "net/ipv4/ip_forward", 1)
        self._cable("e0", self.inside, f"{local(0)}/8", "10.0.0.254/8")
        self._cable("e1", self.outside, f"{OUTSIDE}/15", "198.18.0.1/15")
        self.inside.run(batch, ["route add default via 10.0.0.254"])
        # The translated address is not the router's own: the outside host finds it by a route.
        self.outside.run(batch, [f"route add {global_(0)}/32 via 198.18.0.1"])
        nat = render_ios_nat(read_text("\n".join((*HEAD, *statics(count)))).configuration, PORTS, {})
        self._nft = self.router.run(Nft)
        self._nft.run(ruleset(nat))

    def close(self) -> None:
        self._nft.close()
        for host in (self.router, self.inside, self.outside):
            host.close()

    def throughput(self, seconds: float) -> float:
        """Bits a second of one TCP connection from inside."""
        received = self._measured(self.outside, _take, self.inside, _give, seconds)
        return received * 8 / seconds

    def connections(self, seconds: float) -> float:
        """Connections a second that two processes inside open, one after the other, and reset."""
        return self._measured(self.inside, _open, self.outside, _accept, seconds) / seconds

    def translated(self) -> bool:
        """Whether the outside host sees the global address: what is measured shall be translated at all."""
        with self.outside.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((OUTSIDE, _BULK_PORT))
            server.listen()
            server.settimeout(2)
            with self.inside.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.settimeout(2)
                client.connect((OUTSIDE, _BULK_PORT))
                end, (seen, _) = server.accept()
                end.close()
        return bool(seen == str(global_(0)))

    def _cable(self, port: str, host: Namespace, address: str, router: str) -> None:
        there, here = (f"/proc/self/fd/{each.fd}" for each in (host, self.router))
        words = ["ip", *f"link add {port} netns {here} type veth peer name eth0 netns {there}".split()]
        subprocess.run(words, check=True, pass_fds=(host.fd, self.router.fd))
        host.run(batch, [f"address add {address} dev eth0", "link set eth0 up"])
        self.router.run(batch, [f"address add {router} dev {port}", f"link set {port} up"])
        host.run(_merge_nothing, "eth0")
        self.router.run(_merge_nothing, port)

    def _measured(
        self,
        counting: Namespace,
        count: Callable[[float], int],
        other: Namespace,
        work: Callable[[float], int],
        seconds: float,
    ) -> int:
        """What `count` returns, run beside `work`; servers listen before anybody connects."""
        ends = []
        # The outside host's first: it listens.
        for host, function in sorted(((counting, count), (other, work)), key=lambda each: each[0] is not self.outside):
            readable, writable = os.pipe()
            pid = host.spawn(_told, writable, function, seconds)
            os.close(writable)
            ends.append((host, readable, pid))
            time.sleep(0.1)
        counts = {}
        for host, readable, pid in ends:
            counts[host] = os.read(readable, _COUNT.size)
            os.close(readable)
            os.waitpid(pid, 0)
        if len(counts[counting]) != _COUNT.size:
            raise EnvironmentFailure("count", counting.name, "its process ended without a count")
        return int(_COUNT.unpack(counts[counting])[0])


def _told(writable: int, function: Callable[[float], int], seconds: float) -> None:
    os.write(writable, _COUNT.pack(function(seconds)))


def _take(seconds: float) -> int:
    """Bytes that arrive in that time after the first."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((OUTSIDE, _BULK_PORT))
        server.listen()
        server.settimeout(5)
        end, _ = server.accept()
        buffer = bytearray(_CHUNK)
        end.settimeout(5)
        end.recv_into(buffer)
        until, received = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            received += end.recv_into(buffer)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.close()
        return received


def _give(seconds: float) -> int:
    """Until the other end has enough."""
    with socket.create_connection((OUTSIDE, _BULK_PORT), timeout=5) as end, contextlib.suppress(OSError):
        end.settimeout(seconds + 5)
        while True:
            end.sendall(bytes(_CHUNK))
    return 0


def _accept(seconds: float) -> int:
    """A process a port, each of which takes what comes."""
    until = time.monotonic() + seconds + 1.5
    children = [_fork(lambda port=port: _serve(port, until)) for port in _ports()]  # type: ignore[misc]  # bound at once
    for each in children:
        os.waitpid(each, 0)
    return 0


def _serve(port: int, until: float) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((OUTSIDE, port))
        server.listen(1024)
        while (left := until - time.monotonic()) > 0:
            server.settimeout(left)
            with contextlib.suppress(OSError):
                server.accept()[0].close()


def _open(seconds: float) -> int:
    """In two processes, as the machine has two processors."""
    pipes = []
    for ports in (_ports()[::2], _ports()[1::2]):
        readable, writable = os.pipe()
        pid = _fork(lambda writable=writable, ports=ports: _told(writable, _opener(ports), seconds))  # type: ignore[misc]
        os.close(writable)
        pipes.append((readable, pid))
    total = 0
    for readable, pid in pipes:
        data = os.read(readable, _COUNT.size)
        os.close(readable)
        os.waitpid(pid, 0)
        # One of the two without a count leaves the whole without one.
        total += _COUNT.unpack(data)[0]
    return total


def _opener(ports: Sequence[int]) -> Callable[[float], int]:
    def work(seconds: float) -> int:
        until, made = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            with socket.socket() as end:
                end.settimeout(2)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.connect((OUTSIDE, ports[made % len(ports)]))
            made += 1
        return made

    return work


def _ports() -> list[int]:
    return list(range(_FIRST_PORT, _FIRST_PORT + _LISTENERS))


def _fork(function: Callable[[], None]) -> int:
    """A process of the namespace that this one is in."""
    here = Namespace("here", os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    try:
        return here.spawn(function)
    finally:
        here.close()


def _merge_nothing(port: str) -> None:
    import ctypes

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        for command in _OFF:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", port.encode(), ctypes.addressof(value)) + bytes(16)
            fcntl.ioctl(end, _SIOCETHTOOL, request)
