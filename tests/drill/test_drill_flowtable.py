"""The harness's own view of kernels and of the wire, against a real kernel and the real seal."""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from drill_lan import Lan, lan, wait_until_ready

from understudy.adapters.channel import FLOWS_PORT, Channel
from understudy.core.replication.events import Kind
from understudy.drill import flowtable, synctap
from understudy.drill.board import Board, Cell
from understudy.drill.flowprobe import FlowProbe, Member, body_of, question_of
from understudy.drill.flowtable import Flow
from understudy.drill.idleprobe import IdleProbe
from understudy.drill.processes import ProbeProcess
from understudy.drill.record import Connection
from understudy.drill.sockets import clock_offset, drain
from understudy.drill.staterecord import Carried, StateRecord
from understudy.drill.statewatch import Ends, StateWatch, Taps
from understudy.errors import DecodeError
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace
from understudy.units import SECOND, Instant
from understudy.wire import flowsync
from understudy.wire.marks import flow_mark

MARK = flow_mark(0, 1)
KEY = bytes(range(32))
TRACKING = "table inet t {\n chain c {\n type filter hook input priority 0\n ct state new accept\n }\n}\n"


def replicated(mark: int) -> bool:
    return mark == MARK


def tracked(name: str) -> Namespace:
    """A namespace whose kernel follows flows and notes when it took them."""
    namespace = Namespace.create(name)
    namespace.run(subprocess.run, ["nft", "-f", "-"], input=TRACKING, text=True, check=True, timeout=10)
    namespace.sysctl("net.netfilter.nf_conntrack_timestamp", 1)
    return namespace


def payloads(*numbers: int) -> list[bytes]:
    return [flowtable.synthetic(number, MARK, 100, source=bytes([198, 18, 0, 2])) for number in numbers]


def written_and_read() -> tuple[dict[int, int], dict[int, int], list[Flow], list[tuple[int, Flow]]]:
    namespace = tracked("a")
    events, table = namespace.run(flowtable.open_events), namespace.run(flowtable.open_table)
    made = flowtable.create(table, payloads(*range(300)))
    twice = flowtable.create(table, payloads(0))
    listed = list(flowtable.list_flows(table))
    flowtable.remove(table, payloads(7))
    told = []
    while True:
        try:
            told += [(kind, flowtable.decode(body)) for kind, _, body in flowtable.messages(events.recv(1 << 18))]
        except BlockingIOError:
            return made, twice, listed, told


def test_flows_are_made_listed_heard_of_and_removed() -> None:
    """300 of nobody; making one twice is refused; each is told when it began, the one that ended too."""
    before = time.time_ns()
    made, twice, listed, told = sandbox.run(written_and_read)
    assert made == {0: 300}
    assert list(twice) == [17]  # EEXIST
    assert len({flow.key for flow in listed}) == 300
    assert {(flow.mark, flow.state, flow.half_open) for flow in listed} == {(MARK, 0, False)}
    assert all(before <= flow.started <= time.time_ns() for flow in listed)
    assert {flow.key for flow in listed} == {flow.key for kind, flow in told if kind == flowtable.IPCTNL_MSG_CT_NEW}
    gone = [flow.key for kind, flow in told if kind == flowtable.IPCTNL_MSG_CT_DELETE]
    assert gone == [flowtable.decode(payloads(7)[0]).key]


def test_a_message_that_is_cut_short_is_refused() -> None:
    """Without the original tuple it names no flow; never another exception: the harness must not die of what it
    watches.
    """
    whole = payloads(1)[0]
    for size in range(56):
        with pytest.raises(DecodeError):
            flowtable.decode(whole[:size])
    for size in range(56, len(whole)):
        with contextlib.suppress(DecodeError):
            assert flowtable.decode(whole[:size]).key == flowtable.decode(whole).key


def test_attributes_without_end_are_refused() -> None:
    """A length of zero would never advance, thousands would take for ever."""
    head = struct.pack("=BBH", socket.AF_INET, 0, 0)
    for hostile in (struct.pack("=HH", 0, 1), struct.pack("=HH", 4, 99) * 5000):
        with pytest.raises(DecodeError):
            flowtable.decode(head + hostile)


def injected() -> tuple[list[Flow], list[bytes]]:
    namespace = tracked("a")
    table = namespace.run(flowtable.open_table)
    flowtable.create(table, [*payloads(1), *(flowtable.synthetic(number, MARK, 100) for number in range(3))])
    return list(flowtable.list_flows(table)), list(flowtable.list_raw(table))


def test_injected_flows_are_told_apart_without_decoding() -> None:
    """They are many and nobody's: only those who look for them see them, each by a name of its own."""
    seen, raw = sandbox.run(injected)
    assert [flow.key for flow in seen] == [flowtable.decode(payloads(1)[0]).key]
    names = {flowtable.synthetic_name(payload) for payload in raw if flowtable.is_synthetic(payload)}
    assert len(raw) == 4
    assert names == {flowtable.synthetic_name(flowtable.synthetic(number, MARK, 100)) for number in range(3)}


# --- the wire


def sealed(sequence: int, *records: tuple[int, bytes]) -> bytes:
    sender = Channel(KEY, 1, 5, frozenset({2}), port=FLOWS_PORT)
    packed = b"".join(flowsync.pack_record(kind, content) for kind, content in records)
    return sender.seal(flowsync.encode_data(77, sequence, packed), 2, 0)


def opened(datagram: bytes) -> list[Carried]:
    _, payload = synctap.Opener([KEY]).open(datagram)
    return list(synctap.carried(Instant(0), payload))


def test_what_a_node_sealed_is_read() -> None:
    """News, an end and a snapshot, in their place; the origin's own words are no flows."""
    one, two = payloads(1, 2)
    told = opened(
        sealed(
            3,
            (Kind.CHANGED, one),
            (Kind.GONE, two),
            (flowsync.Word.SNAPSHOT, flowsync.snapshot_content(9, two)),
            (flowsync.Word.LOST, b""),
        )
    )
    keys = [flowtable.decode(payload).key for payload in (one, two, two)]
    assert [(carried.place, carried.flow.key, carried.gone) for carried in told] == [
        ((77, 3), keys[0], False),
        ((77, 3), keys[1], True),
        ((77, 3), keys[2], False),
    ]


def test_a_train_of_datagrams_is_taken_apart() -> None:
    """Segments that the kernel sends as one frame, the last of them shorter; and a datagram that travels alone."""
    cars = [sealed(1, (Kind.CHANGED, payloads(1)[0] * 3)), sealed(2, (Kind.CHANGED, payloads(1)[0]))]
    for train in (cars, cars[:1]):
        body = b"".join(train)
        udp = bytes(4) + (8 + len(body)).to_bytes(2, "big") + bytes(2)
        frame = bytes(12) + b"\x08\x00" + b"\x45" + bytes(19) + udp + body
        assert synctap.datagrams_of(frame) == train


def test_what_was_sealed_for_another_port_or_with_another_key_is_not() -> None:
    """Nor is what was changed on its way."""
    good = sealed(1, (Kind.CHANGED, payloads(1)[0]))
    heartbeat = Channel(KEY, 1, 5, frozenset({2})).seal(b"beat", 2, 0)
    stranger = Channel(bytes(32), 1, 5, frozenset({2}), port=FLOWS_PORT).seal(b"x", 2, 0)
    for bad in (heartbeat, stranger, good[:-1] + bytes([good[-1] ^ 1]), good[:20], b""):
        with pytest.raises(DecodeError):
            synctap.Opener([KEY]).open(bad)


def captured(address: str, leaving: bool) -> list[bytes]:
    """What a tap at bob's port takes of datagrams both ways, to several ports."""
    network = lan()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for host, own in ((network.alice, "2001:db8::1/64"), (network.bob, "2001:db8::2/64")):
        host.run(os.system, f"ip addr add {own} dev eth0 nodad")
    tap = network.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    synctap.open_tap(tap, "bob", leaving=leaving)
    other = {"192.0.2.2": "192.0.2.1", "2001:db8::2": "2001:db8::1"}[address]
    taken: set[bytes] = set()
    for _ in range(30):  # the first datagrams may wait for a neighbour's answer
        for host, target in ((network.alice, address), (network.bob, other)):
            sender = host.socket(family, socket.SOCK_DGRAM)
            for port in (FLOWS_PORT - 1, 53, FLOWS_PORT):
                sender.sendto(b"to " + target.encode() + b" %d" % port, (target, port))
        time.sleep(0.1)
        taken |= {synctap.payload_of(frame) for _, frame in drain(tap, 2048, clock_offset())}
        if taken:
            break
    return sorted(taken)


@pytest.mark.parametrize("leaving", [True, False])
@pytest.mark.parametrize(("bob", "alice"), [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")])
def test_a_tap_takes_the_replications_datagrams_of_one_direction(bob: str, alice: str, leaving: bool) -> None:
    """At bob's port: either what goes to him, or what he sends."""
    wanted = bob if leaving else alice
    assert sandbox.run(lambda: captured(bob, leaving)) == [b"to %b %d" % (wanted.encode(), FLOWS_PORT)]


# --- the watcher


def watched(disturb: Callable[[Namespace, Namespace], None], patience: int) -> tuple[StateRecord, Instant]:
    """Both kernels begin with flow 1; what `disturb` does to them comes before the watch, flow 2 after."""
    active, standby = tracked("active"), tracked("standby")
    network = lan()
    tables = {"active": active.run(flowtable.open_table), "standby": standby.run(flowtable.open_table)}
    for table in tables.values():
        flowtable.create(table, payloads(1))
    disturb(active, standby)
    board = Board()
    board[Cell.FLOWS_READY] = 1

    def ends(node: str) -> Ends:
        namespace = {"active": active, "standby": standby}[node]
        return Ends(node, namespace.run(flowtable.open_events), namespace.run(flowtable.open_table))

    def taps() -> Taps:
        tap = network.switch.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        synctap.open_tap(tap, "bob", leaving=True)
        return Taps([], [tap])

    def work() -> StateRecord:
        return StateWatch(ends, taps, "active", "standby", [KEY], replicated, board, patience=patience).run()

    with ProbeProcess("state", work) as probe:
        deadline = time.monotonic() + 10
        while not board[Cell.STATE_READY] and time.monotonic() < deadline:
            time.sleep(0.01)
        flowtable.create(tables["active"], payloads(2))
        sender = network.alice.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.sendto(sealed(1, (Kind.CHANGED, payloads(2)[0])), ("192.0.2.2", FLOWS_PORT))
        sender.sendto(b"not sealed by anybody", ("192.0.2.2", FLOWS_PORT))
        time.sleep(0.1)
        flowtable.create(tables["standby"], payloads(2))
        cut = Instant(time.monotonic_ns())
        board[Cell.CUT] = cut
        board[Cell.STOP] = cut
        return probe.result(20), cut


def test_the_watcher_sees_both_kernels_and_the_wire() -> None:
    """Agreement before; flow 2 in the active's kernel, on the wire, in the standby's, in this order."""
    record, cut = sandbox.run(lambda: watched(lambda _active, _standby: None, 5 * SECOND))
    key = flowtable.decode(payloads(2)[0]).key
    assert record.differing == ()
    assert [(change.node, change.flow.key) for change in record.changes] == [("active", key), ("standby", key)]
    (arrived,) = record.arrived
    assert arrived.flow.key == key
    origin, copy = (change.instant for change in record.changes)
    # By when they were read; the order of all three by the kernel's own word is below.
    assert record.since <= origin <= arrived.instant + SECOND
    assert arrived.instant < copy <= cut + SECOND
    assert record.unread == 1
    noted = {listing.node: listing.flows[key].started for listing in record.listings if key in listing.flows}
    assert noted["active"] < arrived.instant < noted["standby"] <= cut, "by our own clock"


def add_to_active(active: Namespace, _: Namespace) -> None:
    flowtable.create(active.run(flowtable.open_table), payloads(3))


def test_the_watcher_says_what_differs_once_patience_is_over() -> None:
    """Flow 3 was in one kernel only, all the time."""
    record, _ = sandbox.run(lambda: watched(add_to_active, SECOND // 2))
    assert record.differing == (flowtable.decode(payloads(3)[0]).key,)


# --- the population


def echo_once(network: Lan, answer: Callable[[bytes], bytes]) -> Connection:
    """One connection of the probe to a server that answers with `answer(question)`."""
    listener = network.bob.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("192.0.2.2", 7007))
    listener.listen()
    board = Board()

    def serve() -> None:
        peer, _ = listener.accept()
        while data := peer.recv(4096):
            peer.send(answer(data))

    def work() -> Any:
        sock = network.alice.socket(socket.AF_INET, socket.SOCK_STREAM)
        return FlowProbe([Member("source-nat", sock, ("192.0.2.2", 7007))], [], board).run()

    with ProbeProcess("echo", serve), ProbeProcess("TCP", work) as probe:
        wait_until_ready(board, Cell.FLOWS_READY)
        for _ in range(2):  # answers that differ from the first question on, and from the second
            board[Cell.MARK] = mark = time.monotonic_ns()
            # Answered after the mark, or ended: then nothing is left to decide.
            for _ in range(1000):
                if (board[Cell.COUNTED_MARK], board[Cell.UNDECIDED]) == (mark, 0):
                    break
                time.sleep(0.01)
        board[Cell.STOP] = time.monotonic_ns()
        (connection,) = probe.result(10).connections
        return connection


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        (lambda data: data, True),
        (lambda data: data[:-1] + b"?", False),
        (lambda data: data + data, False),
        (lambda data: data.replace(b"c0.2", b"c0.1"), False),
    ],
)
def test_a_wrong_byte_ends_a_connection(answer: Callable[[bytes], bytes], alive: bool) -> None:
    """Changed, doubled, or of an earlier question."""
    connection: Connection = sandbox.run(lambda: echo_once(lan(), answer))
    assert connection.established
    assert connection.corrupted is not alive
    assert bool(connection.ended) is not alive


def test_questions_differ_in_every_part() -> None:
    """By connection and number; of a response the body counts."""
    assert len({question_of(index, number) for index in range(50) for number in range(50)}) == 2500
    assert body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") == b"x"
    assert body_of(b"HTTP/1.1 200 OK\r\nContent-Le") == b""


NAT = (
    'table ip nat {\n chain post {\n type nat hook postrouting priority 100\n oifname "out" masquerade random\n }\n}\n'
)


def idle_exchanges(forget: bool) -> tuple[Connection, ...]:
    """20 idle exchanges through a gateway's source NAT, whose table is flushed amid them if `forget`."""
    gateway = Namespace.create("gateway")
    inside, outside = Namespace.create("inside"), Namespace.create("outside")
    for name, host, net in (("in", inside, "10.9.0"), ("out", outside, "203.0.113")):
        gateway.run(os.system, f"ip link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{host.fd}")
        gateway.run(os.system, f"ip addr add {net}.1/24 dev {name}; ip link set {name} up")
        host.run(os.system, f"ip addr add {net}.2/24 dev eth0; ip link set eth0 up")
    inside.run(os.system, "ip route add default via 10.9.0.1")
    gateway.sysctl("net.ipv4.ip_forward", 1)
    gateway.run(subprocess.run, ["nft", "-f", "-"], input=NAT, text=True, check=True, timeout=10)
    far = outside.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("203.0.113.2", 9000))
    socks = [inside.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    board = Board()
    with ProbeProcess("UDP", lambda: IdleProbe(socks, far, ("203.0.113.2", 9000), board).run()) as probe:
        deadline = time.monotonic() + 15
        while not board[Cell.DATAGRAMS_READY] and time.monotonic() < deadline:
            time.sleep(0.02)
        if forget:
            table = gateway.run(flowtable.open_table)
            table.send(struct.pack("=IHHII", 20, flowtable.IPCTNL_MSG_CT_DELETE, 5, 1, 0) + bytes(4))
            time.sleep(0.1)
        mark = time.monotonic_ns()
        board[Cell.MARK] = mark
        deadline = time.monotonic() + (1.5 if forget else 10)
        while time.monotonic() < deadline:
            if board[Cell.DATAGRAMS_COUNTED] == mark and not board[Cell.DATAGRAMS_UNDECIDED]:
                break
            time.sleep(0.02)
        board[Cell.STOP] = time.monotonic_ns()
        return probe.result(10)


@pytest.mark.parametrize("forget", [False, True])
def test_idle_datagrams_are_known_from_outside_only_by_state(forget: bool) -> None:
    """All 20 while the gateway remembers them, none once it forgot: the outside speaks first."""
    exchanges = sandbox.run(lambda: idle_exchanges(forget))
    assert [exchange.established for exchange in exchanges] == [True] * 20
    assert [bool(exchange.answered) for exchange in exchanges] == [not forget] * 20
