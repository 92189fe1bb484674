"""Requests over a route netlink socket, many in one send, and dumps (netlink(7), rtnetlink(7)).

Our own few lines instead of a library: a fault of the lab must take effect within one system call from a running
process, a lab of 100 machines is 1 000 requests, and the library at hand costs 140 ms and 32 MB to import, in every
process that needs it: that is more than the whole bound for `status`, and a quarter of an agent's memory. Constants
carry the kernel's names.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from understudy.errors import EnvironmentFailure
from understudy.units import Interface

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR, RTM_NEWROUTE = 20, 24
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLA_F_NESTED = 0x8000
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINKINFO = 1, 3, 18
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BATCH = 64
"""Requests in one send: their acknowledgements must fit the socket's receive buffer."""
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Request:
    """One message of rtnetlink; `operation` and `subject` name it in errors."""

    kind: int
    flags: int
    payload: bytes
    operation: str
    subject: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes (RFC 3549, section 2.2)."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """The attributes that begin at `offset`, by kind without its flags."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if size < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = payload[offset + _ATTRIBUTE.size : offset + size]
        offset += size + (-size % 4)
    return found


def add_address(index: int, address: Interface, subject: str) -> Request:
    """An address that is usable at once: duplicate address detection would hold an IPv6 one back for a second."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    payload = (
        struct.pack("=BBBBI", family, address.network.prefixlen, IFA_F_NODAD, 0, index)
        + attribute(IFA_LOCAL, address.packed)
        + attribute(IFA_ADDRESS, address.packed)
        + attribute(IFA_FLAGS, struct.pack("=I", IFA_F_NODAD))
    )
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload, "add address", f"{address} to {subject}")


class RouteSocket:
    """A netlink socket of the namespace in which it was made, usable from any thread."""

    def __init__(self, *, strict: bool = False) -> None:
        """`strict`: what the request of a dump names chooses in the kernel, where that can (Linux 4.20)."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        if strict:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def commit(self, requests: Sequence[Request], *, tolerate: Sequence[int] = ()) -> None:
        """Carry requests out in order. Raises EnvironmentFailure for the first refused one, after trying them all.

        A refusal with an error number in `tolerate` counts as success.
        """
        failure: EnvironmentFailure | None = None
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            first = self._sequence + 1
            self._socket.send(b"".join(self._encode(request, NLM_F_ACK) for request in batch))
            for sequence, number in self._results(range(first, first + len(batch))):
                request = batch[sequence - first]
                if number and number not in tolerate and failure is None:
                    reason = f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
                    failure = EnvironmentFailure(request.operation, request.subject, reason)
        if failure is not None:
            raise failure

    def dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """Payloads of everything of a kind that the kernel holds."""
        self._socket.send(self._encode(Request(kind, 0, payload, "list", str(kind)), NLM_F_DUMP))
        found: list[bytes] = []
        while True:
            for answer, sequence, body in self._messages():
                if sequence != self._sequence:
                    continue  # of a request that we gave up waiting for
                if answer == NLMSG_DONE:
                    return iter(found)
                if answer == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise EnvironmentFailure("list", str(kind), os.strerror(number))
                found.append(body)

    def close(self) -> None:
        self._socket.close()

    def _encode(self, request: Request, flags: int) -> bytes:
        self._sequence += 1
        size = _HEADER.size + len(request.payload)
        return (
            _HEADER.pack(size, request.kind, NLM_F_REQUEST | flags | request.flags, self._sequence, 0) + request.payload
        )

    def _results(self, awaited: range) -> list[tuple[int, int]]:
        results: list[tuple[int, int]] = []
        while len(results) < len(awaited):
            for kind, sequence, body in self._messages():
                if kind == NLMSG_ERROR and sequence in awaited:
                    results.append((sequence, -struct.unpack_from("=i", body)[0]))
        return results

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """What one receive brings: kind, sequence, payload."""
        for kind, sequence, _, payload in _split(self._socket.recv(1 << 18)):
            yield kind, sequence, payload


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of each message of one datagram."""
    for kind, _, _, payload in _split(data):
        yield kind, payload


def news(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, the port of the socket that caused it (0: not said), and payload of each message of one datagram."""
    for kind, _, port, payload in _split(data):
        yield kind, port, payload


def first_of(data: bytes) -> tuple[int, int]:
    """Kind and causing port of the first message of a datagram."""
    _, kind, _, _, port = _HEADER.unpack_from(data)
    return kind, port


def _split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, sequence, port, payload."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, _, sequence, port = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size:
            return
        yield kind, sequence, port, data[offset + _HEADER.size : offset + size]
        offset += size + (-size % 4)
