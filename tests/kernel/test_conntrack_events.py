"""What the kernel tells of flows, and what it is not to tell."""

import contextlib
import socket
from ipaddress import ip_address

from flow_bed import MARK, Kernel, Nat
from nft_bed import in_sandbox

from understudy.adapters.conntrack import FlowTable
from understudy.core.replication.events import KernelOverrun, Kind, Record
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow, Tcp, Tuple, build

A, B = ip_address("10.9.0.11"), ip_address("198.51.100.9")


def made(port: int, mark: int = MARK, state: int = 3) -> Record:
    tuples = (Tuple(A, B, 6, port, 80), Tuple(B, A, 6, 80, port))
    return Kind.CHANGED, build(Flow(*tuples, 0xE, 100, mark, Tcp(state)))


def test_own_writes_are_no_news_and_those_of_others_are() -> None:
    """Creation, change and end by our socket are silent; the same by another one are told in order."""

    def story() -> tuple[list[Kind], list[Kind]]:
        kernel = Kernel("gateway")
        other = kernel.machine.run(FlowTable)
        told = []
        for table in (kernel.table, other):
            for records in ([made(1)], [made(1, state=4)], [(Kind.GONE, made(1)[1])]):
                assert table.write(records) == 0
            told.append([kind for kind, _ in kernel.records()])
        return told[0], told[1]

    assert in_sandbox(story) == ([], [Kind.CHANGED, Kind.CHANGED, Kind.GONE])


def test_flows_without_a_group_are_no_news() -> None:
    """The node's own traffic and the user's marks are not told, although the kernel has them; every group is."""

    def story() -> tuple[int, list[int]]:
        kernel = Kernel("gateway")
        kernel.machine.sh("ping -c 1 127.0.0.1")
        marks = [0, 0x1F, 0xFFFF_C3FF, *(group << 10 for group in range(1, 16)), 0xFFFF_FFFF]
        kernel.have(*(made(port, mark)[1] for port, mark in enumerate(marks, 1)))
        assert kernel.table.count() == len(marks)  # on loopback nothing is tracked without rules
        return len(marks), [conntrack.mark_of(raw) for _, raw in kernel.records()]

    count, told = in_sandbox(story)
    assert told == [*(group << 10 for group in range(1, 16)), 0xFFFF_FFFF]
    assert count == len(told) + 3


def test_a_flow_without_an_answer_is_no_news() -> None:
    """A SYN into the void is in the table and not in the news, nor is its end; an answered one is, from SYN_RECV on."""

    def story() -> None:
        nat = Nat()
        with nat.client.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("203.0.113.99", 80))
            nat.gateway.until(lambda: nat.gateway.listed() != [])  # first of all the client asks for the gateway's MAC
            (raw,) = nat.gateway.listed()
            assert conntrack.tcp_state(raw) == 1
            nat.gateway.machine.sh("conntrack -F")
        assert nat.gateway.records() == []
        with nat.tcp():
            assert [conntrack.tcp_state(raw) for _, raw in nat.gateway.records()] == [2, 3]

    in_sandbox(story)


def test_what_is_told_only_once_is_told() -> None:
    """A first SYN with labels passes: no later message would have them."""

    def story() -> list[tuple[int, bytes]]:
        nat = Nat("add rule inet t ours ct label set 5")
        with nat.tcp():
            return [(conntrack.tcp_state(raw), conntrack.decode(raw).labels) for _, raw in nat.gateway.records()]

    assert in_sandbox(story) == [(1, bytes((32,)) + bytes(15)), (2, b""), (3, b"")]


def test_an_overrun_is_told_at_once_and_again_when_the_kernel_goes_on() -> None:
    """A queue that is too small: what is lost is reported, and once more when nothing is lost any more."""

    def story() -> None:
        kernel = Kernel("gateway", buffer_bytes=4096)
        other = kernel.machine.run(FlowTable)
        assert other.write([made(port) for port in range(1, 500)]) == 0
        first, lost = kernel.news.read(2)
        assert lost == KernelOverrun(over=False)
        assert len(first) == 1
        found: list[Record] = []
        lost = None
        for _ in range(500):
            some, lost = kernel.news.read(1)
            found += some
            if lost is not None:
                break
        assert lost == KernelOverrun(over=True)
        assert 1 < len(found) < 450
        assert kernel.news.read(100) == ([], None)
        assert other.write([made(1000)]) == 0
        assert kernel.records() != []

    in_sandbox(story)


def test_a_queue_that_is_large_enough_loses_nothing() -> None:
    """Control of the above."""

    def story() -> int:
        kernel = Kernel("gateway")
        other = kernel.machine.run(FlowTable)
        assert other.write([made(port) for port in range(1, 500)]) == 0
        return len(kernel.records())

    assert in_sandbox(story) == 499


def test_news_travel_bare() -> None:
    """Records have what the other kernel wants and no more; of a flow that is gone only who it was."""

    def story() -> None:
        kernel = Kernel("gateway")
        other = kernel.machine.run(FlowTable)
        assert other.write([made(1), (Kind.GONE, made(1)[1])]) == 0
        (_, new), (_, gone) = kernel.records()
        assert conntrack.portable(new) == new
        assert conntrack.decode(gone) == Flow(*(conntrack.decode(new).original, conntrack.decode(new).reply), mark=MARK)

    in_sandbox(story)
