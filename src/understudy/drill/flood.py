"""A hostile host on the LAN: forged advertisements and junk, as many as one process of this machine can send.

Frames are made beforehand and leave through a packet socket that passes queueing by, BATCH with one system call
(packet(7), sendmmsg(2)). The sender is nice and keeps to one CPU: on a real network it would have a machine of its own.

    junk      what every receiver must throw away: wrong TTL, checksum, version, length, VRID; nonsense to the channel
    forged    sound advertisements of the highest priority from addresses that belong to no node of the group
    spoofed   the same in the standby's own name: VRRP has no way to tell it from the standby's
"""

import contextlib
import ctypes
import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import cycle, islice

from understudy.adapters.channel import MAGIC, PORT
from understudy.config.drills import Values
from understudy.config.plan import Router
from understudy.drill import bounds
from understudy.drill.fault import Fault, Strike, now
from understudy.drill.processes import ProbeProcess
from understudy.lab.namespace import Namespace
from understudy.lab.topology import Host, Port
from understudy.units import MILLISECOND, SECOND, Address, Duration, Instant

BATCH = 64
_NICE = 5
_AHEAD: Duration = 2 * MILLISECOND
"""How far the sender may be behind its schedule before it starts a new one."""
_PAUSE_S = 0.0002
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_VRRP, _UDP = 112, 17
_GROUP: dict[int, Address] = {4: IPv4Address("224.0.0.18"), 6: IPv6Address("ff02::12")}
_GROUP_MAC = {4: bytes.fromhex("01005e000012"), 6: bytes.fromhex("333300000012")}
_HIGHEST = 254
_STRANGERS = 16


def hostile_flood(values: Values) -> Fault:
    duration, rate, content = int(values["duration"]), int(values["rate"]), str(values["content"])
    spoofed = content == "spoofed"
    return Fault(
        "hostile-flood",
        "A host on the LAN sends forged advertisements and junk as fast as it can.",
        inject=lambda s: _begin(s, content, rate, duration),
        heal=_end,
        heal_after=lambda _: duration,
        prepare=lambda _: Flood(),
        check=_how_fast,
        bound=(lambda timing: bounds.believed(timing, duration)) if spoofed else bounds.unmoved,
        double=spoofed,
        on_lan=True,
    )


class Flood:
    """The hostile process, while it lives."""

    def __init__(self) -> None:
        self._process: ProbeProcess[tuple[int, int]] | None = None
        self.rate = 0.0

    def start(
        self, namespace: Namespace, interface: str, frames: Sequence[bytes], rate: int, duration: Duration
    ) -> None:
        def work() -> tuple[int, int]:
            sock = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            sock.bind((interface, 0))
            return send(sock, frames, rate, duration)

        self._process = ProbeProcess("flood", work)

    def end(self) -> None:
        """Wait until it has sent its time."""
        if self._process is not None:
            sent, took = self._process.result(timeout_s=30)
            self.rate = sent * SECOND / max(1, took)
        self.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.__exit__(None, None, None)
        self._process = None


def _begin(strike: Strike, content: str, rate: int, duration: Duration) -> Instant:
    assert isinstance(strike.tool, Flood)
    host, port = _attacker(strike)
    frames = hostile_frames(strike, port, content)
    before = now()
    strike.tool.start(strike.lab.namespaces[host.name], port.interface, frames, rate, duration)
    return before


def _end(strike: Strike) -> None:
    assert isinstance(strike.tool, Flood)
    strike.tool.end()


def _how_fast(strike: Strike) -> list[str]:
    assert isinstance(strike.tool, Flood)
    strike.measures["packets_per_s"] = round(strike.tool.rate)
    return [] if strike.tool.rate else ["the flood sent nothing"]


def _attacker(strike: Strike) -> tuple[Host, Port]:
    """A client on the struck LAN."""
    return next(
        (host, port) for host in strike.lab.topology.clients() for port in host.ports if port.network == strike.network
    )


# --- what is sent


@dataclass(frozen=True, slots=True)
class _Sender:
    mac: bytes
    address: Address


def hostile_frames(strike: Strike, port: Port, content: str) -> list[bytes]:
    """The frames to send in turn, for every router of the struck LAN."""
    frames: list[bytes] = []
    for router in (router for router in strike.group.routers if router.network == strike.network):
        own = _address(port, router)
        if content == "spoofed":
            other = _address(strike.lab.topology.port(strike.standby, strike.network), router)
            frames.append(_advertisement(router, _Sender(bytes.fromhex(router.mac.replace(":", "")), other)))
            continue
        attacker = _Sender(port.mac, own)
        if content in ("mixed", "junk"):
            frames += _junk(router, attacker)
            for node in (strike.active, strike.standby):
                theirs = strike.lab.topology.port(node, strike.network)
                frames += [
                    _datagram(attacker, theirs.mac, _address(theirs, router), payload)
                    for payload in (b"", MAGIC + os.urandom(60), os.urandom(64), os.urandom(1300))
                ]
        if content in ("mixed", "forged"):
            strangers = [_Sender(port.mac, own + step) for step in range(_STRANGERS)]
            frames += [_advertisement(router, stranger) for stranger in strangers]
    return frames


def _address(port: Port, router: Router) -> Address:
    return next(address.ip for address in port.addresses if address.version == router.family)


def _junk(router: Router, sender: _Sender) -> list[bytes]:
    sound = _message(router, _HIGHEST, sender.address)
    return [
        _packet(router, sender, sound, ttl=254),
        _packet(router, sender, sound[:6] + bytes((sound[6] ^ 0xFF, sound[7])) + sound[8:]),
        _packet(router, sender, _summed(router, sender.address, bytes((0x51,)) + sound[1:])),
        _packet(router, sender, _summed(router, sender.address, sound[:3] + b"\xff" + sound[4:])),
        _packet(router, sender, _summed(router, sender.address, sound[:1] + bytes((router.vrid ^ 0xFF,)) + sound[2:])),
        _packet(router, sender, sound[:6]),
        _packet(router, sender, b""),
        _packet(router, sender, sound + os.urandom(1300)),
        _packet(router, sender, os.urandom(40)),
    ]


def _advertisement(router: Router, sender: _Sender) -> bytes:
    return _packet(router, sender, _message(router, _HIGHEST, sender.address))


def _message(router: Router, priority: int, source: Address) -> bytes:
    """A version 3 advertisement (RFC 9568, section 5.1) of 100 ms."""
    listed = [address.ip.packed for address in router.addresses]
    if router.link_local is not None:
        listed.insert(0, router.link_local.packed)
    header = struct.pack("!BBBBHH", 0x31, router.vrid, priority, len(listed), 10, 0)
    return _summed(router, source, header + b"".join(listed))


def _summed(router: Router, source: Address, message: bytes) -> bytes:
    """The message with its checksum: over a pseudo-header too with IPv6 (RFC 9568, section 5.2.8)."""
    bare = message[:6] + b"\0\0" + message[8:]
    pseudo = b""
    if router.family == 6:
        pseudo = source.packed + _GROUP[6].packed + struct.pack("!II", len(bare), _VRRP)
    return bare[:6] + struct.pack("!H", _checksum(pseudo + bare)) + bare[8:]


def _packet(router: Router, sender: _Sender, message: bytes, ttl: int = 255) -> bytes:
    packet = _ip(sender.address, _GROUP[router.family], _VRRP, message, ttl)
    return _GROUP_MAC[router.family] + sender.mac + packet


def _datagram(sender: _Sender, mac: bytes, target: Address, payload: bytes) -> bytes:
    """To the channel's port; a checksum of zero would be refused with IPv6 before we see it."""
    header = struct.pack("!HHHH", 40_000, PORT, 8 + len(payload), 0)
    pseudo = sender.address.packed + target.packed + struct.pack("!II", 8 + len(payload), _UDP)
    header = header[:6] + struct.pack("!H", _checksum(pseudo + header + payload) or 0xFFFF)
    return mac + sender.mac + _ip(sender.address, target, _UDP, header + payload, 64)


def _ip(source: Address, target: Address, protocol: int, payload: bytes, ttl: int) -> bytes:
    """EtherType and packet."""
    if source.version == 6:
        return (
            struct.pack("!HIHBB", 0x86DD, 6 << 28, len(payload), protocol, ttl)
            + source.packed
            + target.packed
            + payload
        )
    header = (
        struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 0, 0, ttl, protocol, 0) + source.packed + target.packed
    )
    return b"\x08\x00" + header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + payload


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


# --- how it is sent


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr of a 64-bit Linux, padding included."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_size_t),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int64),
        ("sent", ctypes.c_int64),
    )


def send(sock: socket.socket, frames: Sequence[bytes], rate: int, duration: Duration) -> tuple[int, int]:
    """Send the frames in turn at `rate` a second, or as fast as it goes; (frames that left, nanoseconds it took)."""
    _stand_back()
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    chosen = list(islice(cycle(frames), BATCH * max(1, -(-len(frames) // BATCH))))
    buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in chosen]
    vectors = (_Iovec * len(chosen))(*(_Iovec(ctypes.addressof(buffer), len(buffer)) for buffer in buffers))
    messages = (_Message * len(chosen))()
    for position, message in enumerate(messages):
        message.vectors, message.vector_count = ctypes.addressof(vectors[position]), 1
    starts = cycle(range(0, len(chosen), BATCH))
    began = time.monotonic_ns()
    due, sent = began, 0
    while (at := time.monotonic_ns()) - began < duration:
        if at < due:
            time.sleep(_PAUSE_S)
            continue
        left = sendmmsg(sock.fileno(), ctypes.byref(messages, next(starts) * ctypes.sizeof(_Message)), BATCH, 0)
        sent += max(0, int(left))
        due = max(due, at - _AHEAD) + BATCH * SECOND // rate
    return sent, time.monotonic_ns() - began


def _stand_back() -> None:
    """Leave the other CPUs, and the others' turns, to those who are attacked."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(_NICE)
