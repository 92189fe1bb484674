"""The probes against a real kernel: two hosts on a switch, and what is done to them must be what is measured."""

import os
import signal
import socket
import time
from bisect import bisect_right
from ipaddress import ip_address
from itertools import pairwise

import pytest
from drill_lan import Lan, lan, wait_until_ready, wire_probe

from understudy.drill.board import Board, Cell
from understudy.drill.flowprobe import FlowProbe, Member
from understudy.drill.frames import ask, sight
from understudy.drill.gapcontrol import INJECTED, TOLERANCE, GapControl
from understudy.drill.measure import DATAGRAM_PERIOD, count, longest_gap, stalls
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import FlowRecord, WireRecord
from understudy.drill.sockets import clock_offset, drain, open_tap
from understudy.errors import EnvironmentFailure
from understudy.lab import sandbox, syscalls
from understudy.lab.server import serve
from understudy.units import MILLISECOND, SECOND, Instant

Window = tuple[Instant, Instant]
EDGE = 100 * MILLISECOND
"""On a busy machine an answer may be so late; no probe is behind for all of it."""
VALID_TRIES = 20
"""Other tests beside this one may hold the sender up for some seconds."""


def measured_gap(inject: bool) -> tuple[WireRecord, Window]:
    """One run of the wire probe, with the control or without."""
    network = lan()
    board = Board()
    control = GapControl(network.switch, ["alice", "bob"])
    with ProbeProcess("wire", lambda: wire_probe(network, board).run()) as probe:
        wait_until_ready(board, Cell.WIRE_READY)
        time.sleep(0.2)
        start = Instant(time.monotonic_ns())
        if inject:
            control.inject(INJECTED)
        time.sleep(0.6)
        end = Instant(time.monotonic_ns())
        board[Cell.STOP] = end
        return probe.result(10), (start, end)


def valid_run(inject: bool) -> tuple[WireRecord, Window]:
    """A run whose own sender was not late, as a drill repeats void runs."""
    for _ in range(VALID_TRIES):
        record, window = sandbox.run(lambda: measured_gap(inject))
        if not any(stalls(stream.sent, DATAGRAM_PERIOD, window) for stream in record.streams):
            return record, window
    pytest.fail(f"nothing was measured: {VALID_TRIES} runs in a row were void, the machine is too busy")


def test_a_gap_of_known_length_is_measured_within_five_milliseconds() -> None:
    """300 ms by the kernel's own timer, both ways; every datagram of it is missing and no other."""
    record, window = valid_run(inject=True)
    for stream in record.streams:
        gap = longest_gap((at for at, _ in stream.arrivals), window)
        assert gap.recovered
        assert abs(gap.outage - INJECTED) <= TOLERANCE, stream.name
        assert abs(count(stream, window).lost - INJECTED // DATAGRAM_PERIOD) <= 5


def test_without_a_fault_nothing_is_lost_and_no_gap_is_seen() -> None:
    """The control of the control."""
    record, window = valid_run(inject=False)
    for stream in record.streams:
        counted = count(stream, window)
        assert (counted.lost, counted.duplicated, counted.reordered) == (0, 0, 0)
        assert longest_gap((at for at, _ in stream.arrivals), window).outage <= TOLERANCE


def test_answers_are_seen_at_the_port_of_the_node_that_gave_them() -> None:
    """Asked every 2 ms with an address probe; the datagrams beside them do not reach the tap."""
    record, (start, end) = valid_run(inject=False)
    answered = [sighting for sighting in record.sightings if start <= sighting.instant <= end]
    assert {(s.node, s.kind, s.subject) for s in answered} == {("bob", "answer", "192.0.2.2")}
    lost = outstanding(record, (Instant(end - EDGE), end)) - outstanding(record, (start, Instant(start + EDGE)))
    assert abs(lost) <= 3


def outstanding(record: WireRecord, window: Window) -> int:
    """How many more questions than answers there were at the moment of the window when fewest were on their way."""
    answers = sorted(sighting.instant for sighting in record.sightings if sighting.kind == "answer")
    start, end = window
    return min(bisect_right(record.asked, at) - heard for heard, at in enumerate(answers, 1) if start <= at <= end)


def tapped(address: str) -> tuple[list[tuple[str, str] | None], str]:
    """What the tap at bob's port hears after a few questions, and alice's neighbour entry for bob."""
    network = lan()
    for host, own in ((network.alice, "2001:db8::1/64"), (network.bob, "2001:db8::2/64")):
        host.run(os.system, f"ip addr add {own} dev eth0 nodad")
    tap = network.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    open_tap(tap, "bob")
    asker = network.alice.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    asker.bind(("eth0", 0))
    time.sleep(0.1)
    list(drain(tap, 128, clock_offset()))
    heard: list[tuple[str, str] | None] = []
    for _ in range(3):
        asker.send(ask(ip_address(address)))
        time.sleep(0.02)
    deadline = time.monotonic() + 2
    while True:
        heard += [sight(frame) for _, frame in drain(tap, 128, clock_offset())]
        if heard.count(("answer", address)) >= 3 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    neighbours = network.alice.run(lambda: os.popen("ip neigh show").read())
    return heard, neighbours


@pytest.mark.parametrize("address", ["192.0.2.2", "2001:db8::2"])
def test_asking_gets_an_answer_and_teaches_the_client_nothing(address: str) -> None:
    """Both families; the client's own neighbour cache stays as it was, so asking repairs nothing."""
    heard, neighbours = sandbox.run(lambda: tapped(address))
    assert heard.count(("answer", address)) == 3
    assert address not in neighbours


def tcp_population(network: Lan, board: Board, disturb: bool) -> FlowRecord:
    """Five HTTP and five echo connections from alice to bob, whose server dies if `disturb`."""
    ready, write = os.pipe()
    server = network.bob.spawn(serve, "bob", [8080], write)
    os.read(ready, 1)

    def work() -> FlowRecord:
        syscalls.setns(network.alice.fd, syscalls.CLONE_NEWNET)
        targets = [("service", 8080)] * 5 + [("source-nat", 7007)] * 5
        members = [Member(path, socket.socket(), ("192.0.2.2", port)) for path, port in targets]
        return FlowProbe(members, [(ip_address("192.0.2.2"), 8080)], board).run()

    with ProbeProcess("TCP", work) as probe:
        wait_until_ready(board, Cell.FLOWS_READY)
        time.sleep(0.3)
        if disturb:
            os.kill(server, 9)
        board[Cell.MARK] = time.monotonic_ns()
        time.sleep(0.4)
        # Once it counts for a later mark, the probe has begun whatever was due until then.
        board[Cell.MARK] = mark = time.monotonic_ns()
        deadline = time.monotonic() + 10
        while (board[Cell.COUNTED_MARK], board[Cell.UNDECIDED]) != (mark, 0):
            assert time.monotonic() < deadline, (board[Cell.COUNTED_MARK], mark, board[Cell.UNDECIDED])
            time.sleep(0.01)
        board[Cell.STOP] = time.monotonic_ns()
        record = probe.result(10)
    os.kill(server, 9)
    return record


def test_living_connections_are_answered_and_new_ones_keep_their_rate() -> None:
    """All ten answer after the mark; about 50 new ones a second get theirs."""
    record = sandbox.run(lambda: tcp_population(lan(), Board(), disturb=False))
    assert all(connection.established and not connection.ended for connection in record.connections)
    assert {connect.outcome for connect in record.connects} == {"answered"}
    assert len(record.connects) >= 25
    scheduled = [connect.scheduled for connect in record.connects]
    assert all(later - earlier == SECOND // 50 for earlier, later in pairwise(scheduled))


def test_connections_that_die_are_noticed_and_refusals_counted() -> None:
    """The server is killed: ten resets, and new connections are refused."""
    record = sandbox.run(lambda: tcp_population(lan(), Board(), disturb=True))
    assert all(connection.established and connection.ended for connection in record.connections)
    assert [connect.outcome for connect in record.connects].count("refused") >= 10


def test_a_probe_that_fails_says_so() -> None:
    """Its traceback becomes the drill's error, not a silence."""

    def work() -> None:
        raise RuntimeError("no such interface")

    with ProbeProcess("wire", work) as probe, pytest.raises(EnvironmentFailure, match="no such interface"):
        probe.result(10)


def test_a_probe_that_is_not_needed_any_more_ends() -> None:
    """Leaving the block leaves no process behind."""
    with ProbeProcess("wire", lambda: time.sleep(60)) as probe:
        pid = probe.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def frames_heard() -> list[tuple[str, str] | None]:
    """What the tap hears when bob announces himself, asks for alice, advertises by VRRP and sends a datagram."""
    network = lan()
    tap = network.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    open_tap(tap, "bob")
    time.sleep(0.1)
    list(drain(tap, 128, clock_offset()))
    bob = network.bob.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    bob.bind(("eth0", 0))
    own, other = bytes([192, 0, 2, 2]), bytes([192, 0, 2, 1])
    head = b"\xff" * 6 + b"\x02" + bytes(5)
    for target in (own, other):
        bob.send(head + bytes.fromhex("08060001080006040001") + b"\x02" + bytes(5) + own + bytes(6) + target)
    for protocol in (112, 17):
        bob.send(
            head + bytes.fromhex("0800450000200000000001") + bytes([protocol, 0, 0]) + own + other + b"\x31\x07\xc8"
        )
    time.sleep(0.05)
    return [sight(frame) for _, frame in drain(tap, 128, clock_offset())]


def test_a_tap_hears_announcements_and_advertisements_and_nothing_else() -> None:
    """Gratuitous ARP and protocol 112 pass the kernel's filter; a question and a datagram do not."""
    assert sandbox.run(frames_heard) == [("announcement", "192.0.2.2"), ("advertisement", "200")]


def stopped_sender() -> tuple[Instant, ...]:
    """When datagrams were sent by a probe that was stopped for 100 ms."""
    network, board = lan(), Board()
    with ProbeProcess("wire", lambda: wire_probe(network, board).run()) as probe:
        wait_until_ready(board, Cell.WIRE_READY)
        os.kill(probe.pid, signal.SIGSTOP)
        time.sleep(0.1)
        os.kill(probe.pid, signal.SIGCONT)
        time.sleep(0.1)
        board[Cell.STOP] = time.monotonic_ns()
        return probe.result(10).streams[0].sent


def test_a_sender_that_was_stopped_shows_it_and_sends_no_burst_afterwards() -> None:
    """The pause stands in its own record; what was missed stays missed."""
    sent = sandbox.run(stopped_sender)
    pauses = stalls(sent, DATAGRAM_PERIOD, (sent[0], sent[-1]))
    resumed = max(pauses, key=lambda pause: pause[1] - pause[0])[1]
    assert any(after - before > 90 * MILLISECOND for before, after in pauses)
    assert sum(resumed <= instant < resumed + 20 * MILLISECOND for instant in sent) <= 28
