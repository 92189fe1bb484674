"""The waits around a strike, for the drill and for whoever strikes with its probes. Each has an end."""

import socket
import time
from collections.abc import Sequence

from understudy.drill.board import Board, Cell
from understudy.drill.frames import sight
from understudy.drill.sockets import clock_offset, drain
from understudy.units import MILLISECOND, SECOND, Duration, Instant

CLEAN: Duration = 300 * MILLISECOND
"""Traffic is whole when no direction was silent for this long."""
_ARRIVING: Duration = 50 * MILLISECOND
_POLL_S = 0.005


def is_clean(board: Board, streams: int) -> bool:
    """Whether each of so many directions arrives now and was not silent during the last CLEAN."""
    now = time.monotonic_ns()
    return all(
        now - board.last_arrival(stream) < _ARRIVING and now - board.silence_ended(stream) > CLEAN
        for stream in range(streams)
    )


def wait_for_clean_probes(
    board: Board, streams: int, timeout: Duration, cells: Sequence[Cell] = (Cell.WIRE_READY, Cell.FLOWS_READY)
) -> bool:
    """Until the probes with these cells run and traffic is whole; False if it was not in time."""
    deadline = time.monotonic_ns() + timeout
    while time.monotonic_ns() < deadline:
        if all(board[cell] for cell in cells) and is_clean(board, streams):
            return True
        time.sleep(_POLL_S)
    return False


def wait_for_clean_traffic(board: Board, streams: int, earliest: int, deadline: int) -> tuple[Instant, bool]:
    """Until traffic is whole, not before `earliest`; tells when, and whether it is."""
    while (now := time.monotonic_ns()) < deadline:
        if now >= earliest and is_clean(board, streams):
            return Instant(now), True
        time.sleep(_POLL_S)
    return Instant(time.monotonic_ns()), False


def wait_for_phase(tap: socket.socket, interval: Duration, after: Duration, lead: Duration) -> bool:
    """Sleep until `lead` before the moment `after` an advertisement seen at the tap; False, at once, if none comes."""
    deadline = time.monotonic_ns() + 3 * interval + SECOND // 5
    while time.monotonic_ns() < deadline:
        offset = clock_offset()
        for instant, frame in drain(tap, 128, offset):
            seen = sight(frame)
            if seen is not None and seen[0] == "advertisement":
                target = instant + after - lead
                while target < time.monotonic_ns():
                    target += interval
                time.sleep((target - time.monotonic_ns()) / SECOND)
                return True
        time.sleep(0.001)
    return False


def wait_for_connections(board: Board, mark: Instant, patience: Duration, *, datagrams: bool = False) -> None:
    """Until each connection (and idle exchange of datagrams) was answered after `mark` or reset; the rest has
    stalled.
    """
    deadline = mark + patience
    while time.monotonic_ns() < deadline:
        decided = board[Cell.COUNTED_MARK] == mark and board[Cell.UNDECIDED] == 0
        if datagrams:
            decided = decided and board[Cell.DATAGRAMS_COUNTED] == mark and board[Cell.DATAGRAMS_UNDECIDED] == 0
        if decided:
            return
        time.sleep(_POLL_S)
