"""How long after the Active's kernel the standby's knows of a connection, both seen by one process on one clock.

Real connections through the balancer, begun at a fixed rate (open loop), each asking once and closed a second later.
The lag of one is from the event of the Active's kernel that it is established to the first event of the standby's that
says the same. What keeps copies outside of the kernel has no such lag: it has the commit at promotion instead.
"""

import contextlib
import errno
import resource
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from summary import Row, percentile

from understudy.adapters.scheduling import ask_for_real_time
from understudy.drill.flowtable import decode, messages, open_events
from understudy.drill.processes import ProbeProcess
from understudy.lab import syscalls
from understudy.lab.build import Lab
from understudy.units import Address
from understudy.wire.marks import GROUP_MASK

KEPT_OPEN_S = 1.0
LAST_WORDS_S = 2.0
_ESTABLISHED = 3
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PRIORITY = 30

Seen = list[tuple[int, int, bytes]]
"""Instant, whose kernel (0: the Active's), datagram."""


def measure(lab: Lab, active: str, standby: str, service: tuple[Address, int], rate: int, seconds: float) -> Row:
    client = lab.topology.clients()[0].name
    with (
        ProbeProcess("lag", lambda: watch(lab, active, standby, seconds + 3 * LAST_WORDS_S)) as watching,
        ProbeProcess("connections", lambda: connect(lab, client, service, rate, seconds)) as connecting,
    ):
        made: Row = connecting.result(seconds + 30)
        return made | watching.result(seconds + 60)


def watch(lab: Lab, active: str, standby: str, seconds: float) -> Row:
    sockets = [lab.namespaces[node].run(open_events) for node in (active, standby)]
    ask_for_real_time(_PRIORITY)
    poll = select.epoll()
    for sock in sockets:
        poll.register(sock, select.EPOLLIN)
    whose = {sock.fileno(): number for number, sock in enumerate(sockets)}
    seen: Seen = []
    overruns = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for fd, _ in poll.poll(0.1):
            try:
                while True:
                    data = sockets[whose[fd]].recv(1 << 16)
                    seen.append((time.monotonic_ns(), whose[fd], data))
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overruns += 1
    return {"watcher_overruns": overruns, **lags(established(seen))}


def established(seen: Iterable[tuple[int, int, bytes]]) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Of each kernel, by key: when it first said that the flow is established."""
    first: tuple[dict[bytes, int], dict[bytes, int]] = {}, {}
    for instant, who, data in seen:
        for kind, _, payload in messages(data):
            if kind >> 8 == 1 and kind & 0xFF == 0:
                flow = decode(payload)
                # Health checks and other traffic of the node's own have no group.
                if flow.state == _ESTABLISHED and flow.mark & GROUP_MASK:
                    first[who].setdefault(flow.key, instant)
    return first


def lags(first: tuple[dict[bytes, int], dict[bytes, int]]) -> Row:
    """In milliseconds. `missing`: established at the Active and never at the standby."""
    at_active, at_standby = first
    found = [(at_standby[key] - instant) / 1e6 for key, instant in at_active.items() if key in at_standby]
    return {
        "flows": len(at_active),
        "missing": len(at_active) - len(found),
        "min_ms": round(min(found), 3) if found else None,
        "p50_ms": round(percentile(found, 50), 3) if found else None,
        "p99_ms": round(percentile(found, 99), 3) if found else None,
        "max_ms": round(max(found), 3) if found else None,
    }


@dataclass(slots=True)
class _Open:
    sock: socket.socket
    close_at: float


def connect(lab: Lab, client: str, service: tuple[Address, int], rate: int, seconds: float) -> Row:
    """The calling process enters the client's namespace for good."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    syscalls.setns(lab.namespaces[client].fd, syscalls.CLONE_NEWNET)
    target = (str(service[0]), service[1])
    poll = select.epoll()
    pending: dict[int, socket.socket] = {}
    opened: deque[_Open] = deque()
    begun = time.monotonic()
    asked = answered = failed = 0
    late = 0.0
    while (now := time.monotonic()) < begun + seconds + KEPT_OPEN_S + LAST_WORDS_S:
        while asked < min(now - begun, seconds) * rate:
            late = max(late, now - begun - asked / rate)
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            code = sock.connect_ex(target)
            asked += 1
            if code not in (0, errno.EINPROGRESS):
                failed += 1
                sock.close()
                continue
            pending[sock.fileno()] = sock
            poll.register(sock, select.EPOLLOUT)
        for fd, events in poll.poll(0.0005):
            sock = pending[fd]
            try:
                if events & select.EPOLLOUT:
                    sock.send(b"GET /echo?lag HTTP/1.1\r\nHost: lag\r\n\r\n")
                    poll.modify(fd, select.EPOLLIN)
                    continue
                ok = bool(sock.recv(4096))
            except OSError:
                ok = False
            answered += ok
            failed += not ok
            poll.unregister(fd)
            opened.append(_Open(pending.pop(fd), now + KEPT_OPEN_S))
        while opened and opened[0].close_at <= now:
            _reset(opened.popleft().sock)
    _reset(*(each.sock for each in opened), *pending.values())
    return {"connections": asked, "answered": answered, "failed": failed, "late_ms": round(late * 1000, 1)}


def _reset(*sockets: socket.socket) -> None:
    """Closed without a word of farewell that would keep the port for a minute."""
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()


def service_of(lab: Lab) -> tuple[Address, int]:
    listens: Sequence[tuple[Address, int]] = [
        (listen.address, listen.port)
        for service in lab.plan.services
        for listen in service.listen
        if listen.address.version == 4
    ]
    return listens[0]
