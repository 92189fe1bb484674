"""Many messages in one system call: all of them, in order, none of another, none longer than its room."""

import errno
import socket
from collections.abc import Iterator

import pytest

from understudy.adapters.batch import Batch


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


def test_messages_of_all_sizes_come_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """In batches of at most what is asked for, and of what there is room for."""
    here, there = ends
    sent = [bytes([number]) * (1 + number * 7 % 64) for number in range(20)]
    for message in sent:
        here.send(message)
    batch = Batch(8, 64)
    assert batch.receive(there, 3) == sent[:3]
    assert batch.receive(there, 100) == sent[3:11]
    assert batch.receive(there, 100) == sent[11:19]
    assert batch.receive(there, 100) == sent[19:]
    with pytest.raises(BlockingIOError):
        batch.receive(there, 100)


def test_what_was_read_stays_what_it_was(ends: tuple[socket.socket, socket.socket]) -> None:
    """The room is used again, for another socket too; what it held before does not show through."""
    here, there = ends
    other, otherwise = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    batch = Batch(4, 16)
    with other, otherwise:
        here.send(b"a" * 16)
        first = batch.receive(there, 4)
        other.send(b"b")
        assert batch.receive(otherwise, 4) == [b"b"]
        assert first == [b"a" * 16]


def test_what_is_too_long_is_cut(ends: tuple[socket.socket, socket.socket]) -> None:
    """And spoils nothing behind it."""
    here, there = ends
    here.send(b"x" * 100)
    here.send(b"next")
    assert Batch(4, 16).receive(there, 4) == [b"x" * 16, b"next"]


def test_errors_are_the_sockets_own() -> None:
    """By number: whoever reads knows which."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unconnected, pytest.raises(OSError) as refused:
        Batch(4, 16).receive(unconnected, 4)
    assert refused.value.errno == errno.ENOTCONN
