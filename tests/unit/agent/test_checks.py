"""Results of checks when whoever counts them does not keep up, or is gone."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

from understudy.agent import messages
from understudy.agent.checks import Target, _repeat
from understudy.config.plan import Check
from understudy.units import MILLISECOND, SECOND

WAIT_S = 10.0


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[Target]:
    """One that is well, checked often."""
    made = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with made:
        port = int(made.sockets[0].getsockname()[1])
        check = Check("tcp", "", None, 5 * MILLISECOND, SECOND, rise=2, fall=2)
        yield Target(1, IPv4Address("127.0.0.1"), port, check)


def fill(end: socket.socket) -> None:
    while messages.send(end, {"op": "check", "binding": 0, "ok": True, "reason": "x" * 4000}):
        pass


def test_a_result_that_found_no_room_is_told_once_there_is_some() -> None:
    """A core that stood still for seconds hears of every server again, and not of none for ever."""
    ours, theirs = messages.pair()

    async def story() -> list[int]:
        async with server() as target:
            fill(theirs)
            checking = asyncio.create_task(_repeat(target, 0.0, theirs))
            await asyncio.sleep(0.1)
            assert not checking.done()
            while messages.receive(ours) is not None:
                pass
            heard: list[int] = []
            async with asyncio.timeout(WAIT_S):
                while len(heard) < target.check.rise:
                    message = messages.receive(ours)
                    heard += [int(message["binding"])] if message is not None else []
                    await asyncio.sleep(0.001)
            checking.cancel()
            return heard

    with ours, theirs:
        assert asyncio.run(story()) == [1, 1]


def test_checks_end_with_whoever_counts_them() -> None:
    """The control: a line that is gone is not one that is full."""
    ours, theirs = messages.pair()

    async def story() -> None:
        async with server() as target:
            ours.close()
            await asyncio.wait_for(_repeat(target, 0.0, theirs), WAIT_S)

    with theirs:
        asyncio.run(story())
