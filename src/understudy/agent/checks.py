"""Health checks, in a process without privileges: TCP connects and HTTP requests to the servers of every service.

Every result goes to the core, which counts (core.health). Results that can change nothing, a success after many, stay
here.
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass

from understudy.agent.messages import is_gone, send
from understudy.config.plan import Check, Plan, Server
from understudy.units import SECOND, Address

_STATUS_LINE_MAX = 256


@dataclass(frozen=True, slots=True)
class Target:
    binding: int
    address: Address
    port: int
    check: Check


def targets(plan: Plan) -> list[Target]:
    """Every server that has a check, at its first address."""
    found = []
    for service in plan.services:
        if service.check.kind != "none":
            found += [
                Target(server.binding, server.addresses[0], service.check.port or server.port, service.check)
                for server in service.servers
                if isinstance(server, Server)
            ]
    return found


def run(plan: Plan, end: socket.socket) -> None:
    """Check until the core's end closes."""
    watch(targets(plan), end)


def watch(all_targets: list[Target], end: socket.socket) -> None:
    """Check until the other end closes."""
    asyncio.run(_run(all_targets, end))


async def _run(all_targets: list[Target], end: socket.socket) -> None:
    async with asyncio.TaskGroup() as group:
        for position, target in enumerate(all_targets):
            delay = position / max(1, len(all_targets)) * target.check.every / SECOND
            group.create_task(_repeat(target, delay, end))


async def _repeat(target: Target, delay_s: float, end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + delay_s
    good = 0
    while True:
        await asyncio.sleep(due - loop.time())
        due = max(due + target.check.every / SECOND, loop.time())
        try:
            async with asyncio.timeout(target.check.timeout / SECOND):
                reason = await _once(target)
        except TimeoutError:
            reason = "no answer in time"
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
        good = good + 1 if not reason else 0
        if good <= max(target.check.rise, target.check.fall) and not send(
            end, {"op": "check", "binding": target.binding, "ok": not reason, "reason": reason or "answers"}
        ):
            if is_gone(end):
                return
            good = 0  # Whoever counts is behind, and told anew next time.


async def _once(target: Target) -> str:
    """Empty if the server is well, otherwise what is wrong."""
    reader, writer = await asyncio.open_connection(str(target.address), target.port)
    try:
        if target.check.kind == "tcp":
            return ""
        host = f"[{target.address}]" if target.address.version == 6 else str(target.address)
        request = (
            f"GET {target.check.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: understudy\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        await writer.drain()
        line = (await reader.read(_STATUS_LINE_MAX)).split(b"\r\n", 1)[0]
        version, _, rest = line.partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            return "answers, but not HTTP"
        return "" if 200 <= int(status) < 400 else f"HTTP {int(status)}"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
