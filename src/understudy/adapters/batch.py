"""Many messages of a socket in one system call (recvmmsg(2)): where they are small, calls cost more than reading.

One object holds the room for a batch and belongs to no socket: those that are read in turn share it.
"""

import ctypes
import os
import socket
from typing import Final


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("pieces_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """`struct mmsghdr`: the call fills in the length."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


_WORD: Final = 4
_STEP: Final = ctypes.sizeof(_Header) // _WORD
_LENGTH: Final = _Header.length.offset // _WORD
_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg


class Batch:
    """Room for `most` messages of at most `size` bytes."""

    def __init__(self, most: int, size: int) -> None:
        self.most: Final = most
        self._size = size
        self._room = bytearray(most * size)
        self._view = memoryview(self._room)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._room))
        self._pieces = (_Piece * most)(*(_Piece(start + size * each, size) for each in range(most)))
        pieces, step = ctypes.addressof(self._pieces), ctypes.sizeof(_Piece)
        self._headers = (_Header * most)(
            *(_Header(_Message(pieces=pieces + step * each, pieces_count=1)) for each in range(most))
        )
        self._lengths = memoryview(self._headers).cast("B").cast("I")[_LENGTH::_STEP]

    def receive(self, sock: socket.socket, limit: int) -> list[bytes]:
        """What is there, at most `limit`; what is longer than there is room for is cut. Raises OSError, BlockingIOError
        if there is nothing.
        """
        count = _recvmmsg(sock.fileno(), self._headers, min(limit, self.most), socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))  # BlockingIOError and so on, by the number
        size = self._size
        data = bytes(self._view[: count * size])
        return [data[at : at + n] for at, n in zip(range(0, count * size, size), self._lengths[:count], strict=True)]
