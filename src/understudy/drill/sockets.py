"""Sockets that tell when the *kernel* saw a packet, on the clock that everything else uses."""

import ctypes
import socket
import struct
import time
from collections.abc import Iterator

from understudy.drill import frames
from understudy.units import Instant

_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_ETH_P_ALL = 3
_TIMESPEC = struct.Struct("@qq")


def stamp(sock: socket.socket) -> None:
    """Ask the kernel to note when each packet arrived, and do not block."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)


def open_tap(sock: socket.socket, interface: str) -> None:
    """Make an unbound packet socket hear what enters at `interface` and means something to a drill."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in frames.tap_filter())
    buffer = ctypes.create_string_buffer(program)
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    stamp(sock)
    sock.bind((interface, _ETH_P_ALL))


def clock_offset() -> int:
    """Realtime minus monotonic, in nanoseconds: kernel timestamps are realtime. The tightest of a few readings."""
    best_width, best = 1 << 62, 0
    for _ in range(5):
        before = time.monotonic_ns()
        real = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.monotonic_ns()
        if after - before < best_width:
            best_width, best = after - before, real - (before + after) // 2
    return best


def drain(sock: socket.socket, size: int, offset: int, limit: int = 4096) -> Iterator[tuple[Instant, bytes]]:
    """What waits in a stamped socket: (monotonic instant of arrival, data). Stops at an error of the link."""
    for _ in range(limit):
        try:
            data, ancillary, _flags, _address = sock.recvmsg(size, 64)
        except OSError:
            # Empty, or ENETDOWN told once when a tapped port goes down.
            return
        instant = time.monotonic_ns()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(value[:16])
                instant = seconds * 1_000_000_000 + nanoseconds - offset
        yield Instant(instant), data
