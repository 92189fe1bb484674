"""What the sessions of bench/sessions.py are judged by: gaps between moves, and numbers that must come once."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import daemons
import pytest
import sessionclients
from sessionclients import NOTED, Pulse
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from sessions import CASES, MOVES, felt_ms
from understudy.drill.board import Board, Cell
from understudy.units import MILLISECOND


def test_a_gap_is_felt_of_the_moves_that_it_reaches_into_and_only_for_so_long() -> None:
    """Last progress before the move, first one after: what passed before the strike was nobody's fault."""
    gaps = [(90, 250), (400, 800)]
    in_ms = [(begin * MILLISECOND, end * MILLISECOND) for begin, end in gaps]
    moves = [at * MILLISECOND for at in (100, 300, 600, 900, 1000)]
    assert [felt_ms(in_ms, since, until) for since, until in pairwise(moves)] == [150, 200, 200, None]


def test_a_pulse_notes_what_is_no_pause_in_speaking_and_says_who_goes_on() -> None:
    """A stalled session's last gap is open; one that never began was refused."""
    board = Board()
    pulse = Pulse(board, 2)
    assert pulse.told("reset").ended == "refused"
    pulse.beat(7)
    began = pulse.last
    pulse.last -= 2 * NOTED
    pulse.beat(1)
    assert board.last_arrival(2) == pulse.last
    pulse.last -= 3 * NOTED
    told = pulse.told("stalled")
    assert (told.ended, told.units, len(told.gaps)) == ("stalled", 8, 2)
    assert told.gaps[0][0] == began - 2 * NOTED
    pulse.end()
    assert board.last_arrival(2) > told.gaps[1][1]


def test_every_kind_of_fail_over_is_told_and_the_controls_are_others() -> None:
    assert [move.name for move in CASES["replicate"].moves] == [move.name for move in MOVES]
    plans = {name: case.plan(None) for name, case in CASES.items()}
    assert [rule.helpers for rule in plans["no-helpers"].source_nat] == [()]
    assert {service.state for service in plans["none"].services} == {"none"}
    assert {rule.state for rule in plans["replicate"].source_nat} == {"replicate"}


Handler = Callable[[ServerConnection], Awaitable[None]]


async def talk_to(handler: Handler, client: Callable[[str], Awaitable[object]]) -> object:
    async with serve(handler, "127.0.0.1", 0, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await client(f"ws://127.0.0.1:{port}")


async def listen(connection: ClientConnection) -> None:
    async for _ in connection:
        pass


def test_numbers_both_ways_end_whole() -> None:
    async def client(uri: str) -> str:
        board = Board()
        asyncio.get_running_loop().call_later(0.3, board.__setitem__, Cell.STOP, 1)
        return (await sessionclients.talk(uri, Pulse(board, 0))).ended

    assert asyncio.run(talk_to(daemons.converse, client)) == "whole"


@pytest.mark.parametrize("words", [("client 2",), ("client 1", "client 1"), ("client 1", "end 2")])
def test_a_server_hangs_up_on_missing_and_repeated_numbers(words: tuple[str, ...]) -> None:
    async def client(uri: str) -> int:
        async with connect(uri, proxy=None) as connection:
            for word in words:
                await connection.send(word)
            with pytest.raises(ConnectionClosedError) as closed:
                await asyncio.wait_for(listen(connection), 5)
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code

    assert asyncio.run(talk_to(daemons.converse, client)) == 1008


@pytest.mark.parametrize(
    ("words", "ended"),
    [(("server 2",), "wrong"), (("server 1", "server 1"), "wrong"), (("end 1",), "wrong"), (("server 1",), "reset")],
)
def test_a_client_takes_nothing_but_the_next_number(words: tuple[str, ...], ended: str) -> None:
    """And a connection that is closed before the end was reset, however politely."""

    async def liar(connection: ServerConnection) -> None:
        for word in words:
            await connection.send(word)

    async def client(uri: str) -> str:
        return (await sessionclients.talk(uri, Pulse(Board(), 0))).ended

    assert asyncio.run(talk_to(liar, client)) == ended
