"""A kernel's flows as the harness sees them: over a netlink socket of its own, with a decoder of its own.

Deliberately apart from `wire.conntrack` and `adapters.conntrack`, which are what is being judged: one mistake must not
hide itself in both. Constants carry the kernel's names (linux/netfilter/nfnetlink_conntrack.h).
"""

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from understudy.errors import DecodeError, EnvironmentFailure

NETLINK_NETFILTER: Final = 12
IPCTNL_MSG_CT_NEW: Final = 0x100
IPCTNL_MSG_CT_GET: Final = 0x101
IPCTNL_MSG_CT_DELETE: Final = 0x102
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x4, 0x300, 0x400, 0x200
_GROUPS_NEW_UPDATE_DESTROY: Final = 0b111
_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 64 << 20
"""Of the watcher's socket. Without the right to ask for it (no root) the kernel's limit applies."""
_ATTRIBUTES_MAX: Final = 64
_TIMEOUT_S: Final = 10

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO = 1, 2, 3, 4
CTA_TIMEOUT, CTA_MARK, CTA_ZONE, CTA_TIMESTAMP = 7, 8, 18, 20
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
_NLA_F_NESTED: Final = 0x8000
_SEEN_REPLY, _ASSURED, _CONFIRMED = 0x2, 0x4, 0x8
_TCP, _UDP = 6, 17
_SYNTHETIC: Final = struct.pack("=HH", 8, 1) + bytes([198, 18, 0, 1])
"""The source address of synthetic flows, as an attribute."""
SYN_SENT: Final = 1
HALF_OPEN: Final = frozenset({SYN_SENT, 2, 9})
"""TCP_CONNTRACK_SYN_SENT, SYN_RECV and SYN_SENT2."""
UNSAID: Final = -1
"""An update names the state of TCP only where that has changed."""


class Flow(NamedTuple):
    """One entry, as far as two kernels must agree about it."""

    key: bytes
    """The original tuple and the zone: names the flow in any kernel."""
    reply: bytes
    """The reply tuple, from which translations follow."""
    mark: int
    state: int
    """Of TCP; 0 for other protocols, UNSAID where a message leaves it out."""
    status: int
    """IPS_SEEN_REPLY and IPS_ASSURED."""
    started: int = 0
    """When this kernel took it, by the realtime clock, if `nf_conntrack_timestamp` is on."""

    @property
    def half_open(self) -> bool:
        return self.state in HALF_OPEN

    @property
    def content(self) -> tuple[bytes, int, int, int]:
        """What must be equal in both kernels."""
        return self.reply, self.mark, self.state, self.status


def decode(payload: bytes) -> Flow:
    """A flow out of `nfgenmsg` and attributes. Raises DecodeError."""
    if len(payload) < 4:
        raise DecodeError("flow-length")
    found = _attributes(payload, 4)
    original = found.get(CTA_TUPLE_ORIG)
    if original is None:
        raise DecodeError("flow-tuple")
    zone = found.get(CTA_ZONE, b"\0\0")
    key = _tuple(payload[0], original) + zone
    reply = _tuple(payload[0], found[CTA_TUPLE_REPLY]) if CTA_TUPLE_REPLY in found else b""
    state = UNSAID if key[1] == _TCP else 0
    if CTA_PROTOINFO in found and key[1] == _TCP:
        state = _attributes(_attributes(found[CTA_PROTOINFO]).get(1, b"")).get(1, b"\0")[0]
    status = int.from_bytes(found.get(CTA_STATUS, b"")) & (_SEEN_REPLY | _ASSURED)
    started = int.from_bytes(_attributes(found.get(CTA_TIMESTAMP, b"")).get(1, b""))
    return Flow(key, reply, int.from_bytes(found.get(CTA_MARK, b"")), state, status, started)


def _tuple(family: int, attribute: bytes) -> bytes:
    """Family, protocol, two addresses, and two ports or what the protocol has in their place."""
    parts = _attributes(attribute)
    addresses = _attributes(parts.get(CTA_TUPLE_IP, b""))
    protocol = _attributes(parts.get(CTA_TUPLE_PROTO, b""))
    source, target = (1, 2) if family == socket.AF_INET else (3, 4)
    if source not in addresses or target not in addresses or len(protocol.get(1, b"")) != 1:
        raise DecodeError("flow-tuple")
    ends = b"".join(protocol[kind].rjust(2, b"\0") for kind in sorted(protocol) if kind > 1)
    return bytes([family]) + protocol[1] + addresses[source] + addresses[target] + ends


def _attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for _ in range(_ATTRIBUTES_MAX):
        if offset + 4 > len(data):
            return found
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4 or offset + size > len(data):
            raise DecodeError("flow-attribute")
        found[kind & 0x3FFF] = data[offset + 4 : offset + size]
        offset += size + (-size % 4)
    raise DecodeError("flow-attribute")


def describe(key: bytes) -> str:
    """`tcp 10.9.0.11:4711 -> 198.51.100.9:80`, for a finding."""
    size = 4 if key[0] == socket.AF_INET else 16
    source, target = ip_address(key[2 : 2 + size]), ip_address(key[2 + size : 2 + 2 * size])
    protocol = {_TCP: "tcp", _UDP: "udp", 1: "icmp", 58: "icmpv6"}.get(key[1], str(key[1]))
    ends = key[2 + 2 * size : -2]
    if key[1] not in (_TCP, _UDP) or len(ends) != 4:
        return f"{protocol} {source} -> {target}"
    near, far = (f"[{end}]" if size == 16 else str(end) for end in (source, target))
    return f"{protocol} {near}:{int.from_bytes(ends[:2])} -> {far}:{int.from_bytes(ends[2:])}"


# --- the socket


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and payload of each netlink message; stops at a broken one."""
    offset = 0
    while offset + 16 <= len(data):
        size, kind, flags = struct.unpack_from("=IHH", data, offset)
        if size < 16 or offset + size > len(data):
            return
        yield kind, flags, data[offset + 16 : offset + size]
        offset += size + (-size % 4)


def open_events() -> socket.socket:
    """A non-blocking socket that hears of every new, changed and ended flow of the calling thread's namespace."""
    sock = _open(_GROUPS_NEW_UPDATE_DESTROY)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    sock.setblocking(False)
    return sock


def open_table() -> socket.socket:
    """A socket for `list_flows`, `create` and `remove` in the calling thread's namespace."""
    sock = _open(0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(_TIMEOUT_S)
    return sock


def _open(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.bind((0, groups))
    return sock


def list_flows(sock: socket.socket) -> Iterator[Flow]:
    """Every flow of the namespace but the synthetic ones. Raises EnvironmentFailure."""
    for payload in list_raw(sock):
        if not is_synthetic(payload):
            yield decode(payload)


def list_raw(sock: socket.socket) -> Iterator[bytes]:
    """Every flow as the kernel tells it. Raises EnvironmentFailure."""
    request = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
    try:
        sock.send(
            struct.pack("=IHHII", 16 + len(request), IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + request
        )
        while True:
            for kind, _, payload in messages(sock.recv(1 << 18)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    raise EnvironmentFailure("list", "flows", os.strerror(number))
                yield payload
    except OSError as error:
        raise EnvironmentFailure("list", "flows", str(error)) from error


def create(sock: socket.socket, payloads: Sequence[bytes]) -> dict[int, int]:
    """Put flows (`synthetic`) into the kernel with one system call; how many ended with which error number."""
    return _commit(sock, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, payloads)


def remove(sock: socket.socket, payloads: Sequence[bytes]) -> dict[int, int]:
    """Take the same flows away."""
    return _commit(sock, IPCTNL_MSG_CT_DELETE, 0, payloads)


def _commit(sock: socket.socket, kind: int, flags: int, payloads: Sequence[bytes]) -> dict[int, int]:
    """Error number (0: taken) -> how many."""
    if not payloads:
        return {}
    flags |= NLM_F_REQUEST | NLM_F_ACK
    data = b"".join(
        struct.pack("=IHHII", 16 + len(payload), kind, flags, number, 0) + payload
        for number, payload in enumerate(payloads, 1)
    )
    results: dict[int, int] = {}
    try:
        sock.send(data)
        left = len(payloads)
        while left:
            for answer, _, payload in messages(sock.recv(1 << 18)):
                if answer == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    results[number] = results.get(number, 0) + 1
                    left -= 1
    except OSError as error:
        raise EnvironmentFailure("change", "flows", errno.errorcode.get(error.errno or 0, str(error))) from error
    return results


def synthetic(number: int, mark: int, timeout_s: int, source: bytes = _SYNTHETIC[-4:]) -> bytes:
    """Flow number `number` (below 2^24) of nobody: UDP between two addresses of the benchmarking range (RFC 2544),
    assured, so that a kernel that runs out of room does not drop it early. From another source it is not skipped.
    """
    assert number < 1 << 24
    target = bytes([198, 19, number >> 16 & 0xFF, number >> 8 & 0xFF])
    near, far = struct.pack("!H", 1024 + (number & 0xFF)), struct.pack("!H", 9)
    return (
        struct.pack("=BBH", socket.AF_INET, 0, 0)
        + _nest(CTA_TUPLE_ORIG, _ends(source, target, near, far))
        + _nest(CTA_TUPLE_REPLY, _ends(target, source, far, near))
        + _plain(CTA_STATUS, struct.pack("!I", _SEEN_REPLY | _ASSURED | _CONFIRMED))
        + _plain(CTA_TIMEOUT, struct.pack("!I", timeout_s))
        + _plain(CTA_MARK, struct.pack("!I", mark))
    )


def is_synthetic(payload: bytes) -> bool:
    """Whether a message is about such a flow: told without decoding it, as there may be hundreds of thousands."""
    return _SYNTHETIC in payload


def synthetic_name(payload: bytes) -> bytes:
    """Of a synthetic flow as a kernel tells it: its original tuple, which comes first."""
    return payload[4 : 4 + int.from_bytes(payload[4:6], sys.byteorder)]


def _ends(source: bytes, target: bytes, near: bytes, far: bytes) -> bytes:
    protocol = _plain(1, bytes([_UDP])) + _plain(2, near) + _plain(3, far)
    return _nest(CTA_TUPLE_IP, _plain(1, source) + _plain(2, target)) + _nest(CTA_TUPLE_PROTO, protocol)


def _nest(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind | _NLA_F_NESTED) + payload


def _plain(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)
