"""A small page of shared memory between the drill and its probes: commands one way, live readings the other.

Each cell is one aligned 64-bit integer with one writer, so no lock is needed.
"""

import mmap
from enum import IntEnum


class Cell(IntEnum):
    STOP = 0
    """Instant after which the probes stop sending, 0 while they run. Written by the drill."""
    MARK = 1
    """Connections count as alive once answered after this instant. Written by the drill."""
    WIRE_READY = 2
    FLOWS_READY = 3
    UNDECIDED = 4
    """Connections neither reset nor answered since MARK; -1 until counted for that MARK."""
    COUNTED_MARK = 5
    """The MARK that UNDECIDED was counted for."""
    STATE_READY = 6
    """Both kernels were compared, and every change of them is watched."""
    CUT = 7
    """Instant of the fault, 0 before. Written by the drill."""
    DATAGRAMS_READY = 8
    DATAGRAMS_UNDECIDED = 9
    """Idle exchanges of datagrams that were not answered since MARK; counted for DATAGRAMS_COUNTED."""
    DATAGRAMS_COUNTED = 10
    STREAMS = 16
    """From here two cells a stream: last arrival, and when its last silence of more than 5 ms ended."""


class Board:
    """The page, inherited by every process that is forked after it was made."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 4096)).cast("q")

    def __getitem__(self, cell: int) -> int:
        return self._cells[cell]

    def __setitem__(self, cell: int, value: int) -> None:
        self._cells[cell] = value

    def last_arrival(self, stream: int) -> int:
        return self._cells[Cell.STREAMS + 2 * stream]

    def silence_ended(self, stream: int) -> int:
        return self._cells[Cell.STREAMS + 2 * stream + 1]

    def arrived(self, stream: int, instant: int, silence: int) -> None:
        """Note an arrival; a silence longer than `silence` before it starts the clean time anew."""
        cell = Cell.STREAMS + 2 * stream
        if instant - self._cells[cell] > silence:
            self._cells[cell + 1] = instant
        self._cells[cell] = instant
