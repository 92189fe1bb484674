"""Writes flows into a kernel at a set rate, as if they had come over its ports: create, update, delete.

Each message is one event for whoever listens. Entries look like balanced TCP connections: from a client of
100.64.0.0/10 to the virtual address, DNAT to a server, marked as the rules would mark them. `life` gives each a whole
life, so that any number of events fits a table of a quarter million; `fill` only creates.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import islice

from understudy.adapters.netlink import NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, attribute
from understudy.config.plan import Plan
from understudy.drill.flowtable import (
    CTA_MARK,
    CTA_PROTOINFO,
    CTA_STATUS,
    CTA_TIMEOUT,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_NEW,
    open_table,
)
from understudy.wire.marks import flow_mark

BATCH = 64
"""Messages in one send."""
APART = 20_000
"""So many entries lie between a flow's creation, its update and its end."""
TCP, ESTABLISHED, FIN_WAIT = 6, 3, 4
CTA_NAT_DST = 13
_SEEN_REPLY, _ASSURED, _CONFIRMED = 0x2, 0x4, 0x8
_PORTS, _FIRST_PORT = 50_000, 1024
_CLIENTS = int(IPv4Address("100.64.0.0"))
_LIBERAL = bytes([0x0B, 0x0B])
"""Window scaling, SACK permitted, liberal; and the mask of what is said."""
_TIMEOUT_S = 3600
_HEADER, _U32, _U16 = struct.Struct("=IHHII"), struct.Struct("!I"), struct.Struct("!H")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the made flows go to."""

    virtual: IPv4Address
    port: int
    server: IPv4Address
    server_port: int
    mark: int


def target_of(plan: Plan) -> Target:
    """The first service of the file with an IPv4 address, and its first server."""
    service = plan.services[0]
    listen = next(each for each in service.listen if each.address.version == 4)
    server = service.servers[0]
    group = next(group for group in plan.groups if group.name == listen.group)
    address = next(each for each in server.addresses if each.version == 4)
    return Target(
        IPv4Address(str(listen.address)),
        listen.port,
        IPv4Address(str(address)),
        server.port,
        flow_mark(server.binding, group.number),
    )


# -- messages --


def client_of(index: int) -> tuple[int, int]:
    """Address and port of the client of flow `index`: no two are the same."""
    return _CLIENTS + index // _PORTS, _FIRST_PORT + index % _PORTS


def is_injected(key: bytes) -> bool:
    """Whether a flow's key (drill.flowtable: family, protocol, source ...) names one of these clients."""
    return key[0] == socket.AF_INET and int.from_bytes(key[2:6]) >> 22 == _CLIENTS >> 22


class Template:
    """One message, in which only the client's address and port change from flow to flow."""

    _ADDRESS, _PORT = 0x647F_FFFE, 0xFEFE

    def __init__(self, made: Callable[[Target, int, int], bytes], target: Target) -> None:
        self._message = bytearray(made(target, self._ADDRESS, self._PORT))
        self._addresses = _places(self._message, _be32(self._ADDRESS))
        self._ports = _places(self._message, _be16(self._PORT))

    def of(self, index: int) -> bytes:
        address, port = client_of(index)
        message = self._message
        for place in self._addresses:
            _U32.pack_into(message, place, address)
        for place in self._ports:
            _U16.pack_into(message, place, port)
        return bytes(message)


def _places(message: bytes | bytearray, what: bytes) -> list[int]:
    return [place for place in range(len(message)) if message.startswith(what, place)]


def creation(target: Target, address: int, port: int) -> bytes:
    client = IPv4Address(address)
    original = _tuple(CTA_TUPLE_ORIG, client, target.virtual, port, target.port)
    # The reply as it would be without translation: the kernel makes the true one from the range.
    reply = _tuple(CTA_TUPLE_REPLY, target.virtual, client, target.port, port)
    proto = _nested(3, attribute(1, _be16(target.server_port)), attribute(2, _be16(target.server_port)))
    nat = _nested(CTA_NAT_DST, attribute(1, target.server.packed), attribute(2, target.server.packed), proto)
    body = (
        original
        + reply
        + attribute(CTA_STATUS, _be32(_CONFIRMED | _SEEN_REPLY | _ASSURED))
        + _state(ESTABLISHED)
        + nat
        + attribute(CTA_TIMEOUT, _be32(_TIMEOUT_S))
        + attribute(CTA_MARK, _be32(target.mark))
    )
    return _message(IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, body)


def change(target: Target, address: int, port: int) -> bytes:
    """The client has closed: a change that everyone must carry."""
    return _message(IPCTNL_MSG_CT_NEW, 0, _original(target, address, port) + _state(FIN_WAIT))


def deletion(target: Target, address: int, port: int) -> bytes:
    return _message(IPCTNL_MSG_CT_DELETE, 0, _original(target, address, port))


def fill(target: Target, count: int, first: int = 0) -> Iterator[bytes]:
    """Creates `count` entries."""
    return map(Template(creation, target).of, range(first, first + count))


def clear(target: Target, count: int, first: int = 0) -> Iterator[bytes]:
    return map(Template(deletion, target).of, range(first, first + count))


def life(target: Target, events: int, first: int = 0, apart: int = APART) -> Iterator[bytes]:
    """About `events` messages after which the table is as before: whole lives, shifted against each other."""
    flows = max(1, events // 3)
    born, changed, dead = (Template(made, target) for made in (creation, change, deletion))
    for step in range(flows + 2 * apart):
        if step < flows:
            yield born.of(first + step)
        if 0 <= step - apart < flows:
            yield changed.of(first + step - apart)
        if 0 <= step - 2 * apart < flows:
            yield dead.of(first + step - 2 * apart)


def _original(target: Target, address: int, port: int) -> bytes:
    return _tuple(CTA_TUPLE_ORIG, IPv4Address(address), target.virtual, port, target.port)


def _tuple(kind: int, source: IPv4Address, destination: IPv4Address, from_port: int, to_port: int) -> bytes:
    addresses = _nested(1, attribute(1, source.packed), attribute(2, destination.packed))
    ports = _nested(2, attribute(1, bytes([TCP])), attribute(2, _be16(from_port)), attribute(3, _be16(to_port)))
    return _nested(kind, addresses, ports)


def _state(tcp_state: int) -> bytes:
    tcp = attribute(1, bytes([tcp_state])) + attribute(2, b"\x07") + attribute(3, b"\x07")
    flags = attribute(4, _LIBERAL) + attribute(5, _LIBERAL)
    return _nested(CTA_PROTOINFO, _nested(1, tcp + flags))


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    head = _HEADER.pack(20 + len(body), kind, NLM_F_REQUEST | flags, 0, 0)
    return head + struct.pack("=BBH", socket.AF_INET, 0, 0) + body


def _be16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _be32(value: int) -> bytes:
    return value.to_bytes(4, "big")


# -- writing --


@dataclass(frozen=True, slots=True)
class Written:
    messages: int
    seconds: float
    refused: int
    late_s: float
    """How far the writer was behind its schedule at the end: above a few milliseconds the rate was not reached."""

    @property
    def rate(self) -> float:
        return self.messages / self.seconds if self.seconds else 0.0


def batches(written: Iterable[bytes]) -> list[bytes]:
    """Made before the clock runs: what is timed is the kernel's work, not ours."""
    rest = iter(written)
    made = []
    while batch := b"".join(islice(rest, BATCH)):
        made.append(batch)
    return made


def write(sock: socket.socket, prepared: Sequence[bytes], rate: float = 0) -> Written:
    """Into the kernel of the socket's namespace, at `rate` messages a second (0: as fast as it takes them)."""
    begun = time.monotonic()
    refused, late = 0, 0.0
    for number, batch in enumerate(prepared):
        if rate:
            due = begun + number * BATCH / rate
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            late = time.monotonic() - due
        sock.send(batch)
        if number % 16 == 15:
            refused += _refusals(sock)
    refused += _refusals(sock)
    return Written(len(prepared) * BATCH, time.monotonic() - begun, refused, late)


def _refusals(sock: socket.socket) -> int:
    """The kernel answers only what it refuses, a message each."""
    refused = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(1 << 16, socket.MSG_DONTWAIT)
            refused += 1
    return refused


def write_here(prepared: Sequence[bytes], rate: float = 0) -> Written:
    with open_table() as sock:
        sock.settimeout(None)
        return write(sock, prepared, rate)
