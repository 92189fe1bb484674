"""Every reader of others' bytes: only the declared errors, bounded, and what is written reads the same again."""

import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.adapters.channel import DATAGRAM_MAX, Channel
from understudy.config import load_plan
from understudy.errors import DecodeError, OperatorError
from understudy.units import Priority, Vrid
from understudy.wire import arp, frame, heartbeat, ndp, vrrp

sys.path.append(str(Path(__file__).parents[2] / "fuzz"))

import targets

SEEDS = {name: [path.read_bytes() for path in targets.corpus(name)] for name in targets.MAKERS}
QUICK = [name for name in targets.MAKERS if name not in ("config", "control")]
"""Without a process or a file behind them."""
patient = settings(max_examples=60, deadline=None)
macs = st.binary(min_size=6, max_size=6)
v4, v6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A seed with bytes written over, cut off or appended; or noise."""
    data = bytearray(draw(st.sampled_from(SEEDS[name])))
    for at, value in draw(st.lists(st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(0, 255)), max_size=6)):
        if data:
            data[at] = value
    tail = draw(st.binary(max_size=80))
    cut = draw(st.integers(0, len(data)))
    return bytes(draw(st.sampled_from([data, data[:cut], data + tail, data[:cut] + tail, bytearray(tail)])))


@pytest.mark.parametrize("name", targets.MAKERS)
def test_every_seed_of_the_corpus_keeps_the_promises(name: str) -> None:
    """What `make fuzz` starts from, and what it once found."""
    target = targets.MAKERS[name]()
    for seed in SEEDS[name]:
        target(seed)


@pytest.mark.parametrize("name", QUICK)
def test_every_byte_changed_and_every_cut_of_a_seed_keeps_the_promises(name: str) -> None:
    """Systematic where Hypothesis is random: each position with values at the edges of what a field may hold."""
    target = targets.MAKERS[name]()
    for seed in SEEDS[name]:
        for at in range(min(len(seed), 160)):
            target(seed[:at])
            for value in (0, 1, 9, 0x7F, 0x80, 0xFF):
                target(seed[:at] + bytes([value]) + seed[at + 1 :])


@pytest.mark.parametrize("name", QUICK)
def test_damaged_bytes_raise_nothing_but_what_is_declared(name: str) -> None:
    """Hundreds of variants of each seed; whatever is read after all is written and read alike."""
    target = targets.MAKERS[name]()

    @settings(max_examples=120, deadline=None)
    @given(damaged(name))
    def promise(data: bytes) -> None:
        target(data)

    promise()


@pytest.mark.parametrize("name", ["config", "control"])
def test_damaged_files_and_requests_raise_nothing_but_what_is_declared(name: str) -> None:
    """The same, fewer: each is a whole file checked, or two clients served."""
    target = targets.MAKERS[name]()

    @settings(max_examples=30, deadline=None)
    @given(damaged(name))
    def promise(data: bytes) -> None:
        target(data)

    promise()


def test_a_broken_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a decoder that forgets to look at a length fails the same targets."""
    monkeypatch.setattr(arp, "_ARP", arp.struct.Struct("!6s6sHHHBBH6s4s6s4s"))
    monkeypatch.setattr(arp, "len", lambda data: 1 << 16, raising=False)
    with pytest.raises(arp.struct.error):
        targets.arp_frame(b"short")


@patient
@given(
    st.integers(1, 255),
    st.integers(0, 255),
    st.integers(1, 4095),
    st.lists(v4, min_size=1, max_size=20),
    v4,
    st.booleans(),
)
def test_an_advertisement_over_ipv4_reads_as_it_was_written(
    vrid: int, priority: int, interval: int, addresses: list[IPv4Address], source: IPv4Address, pseudo: bool
) -> None:
    """Both forms of the checksum."""
    message = vrrp.Advertisement(Vrid(vrid), Priority(priority), interval, tuple(addresses), 4)
    data = vrrp.encode(message, source, vrrp.GROUP_IPV4, pseudo_header=pseudo)
    assert vrrp.decode(data, family=4, source=source, destination=vrrp.GROUP_IPV4) == message


@patient
@given(st.integers(1, 255), st.integers(0, 255), st.lists(v6, max_size=9), v6)
def test_an_advertisement_over_ipv6_reads_as_it_was_written(
    vrid: int, priority: int, addresses: list[IPv6Address], source: IPv6Address
) -> None:
    """The virtual link-local address comes first."""
    chosen = (vrrp.virtual_link_local(Vrid(vrid)), *addresses)
    message = vrrp.Advertisement(Vrid(vrid), Priority(priority), 100, chosen, 6)
    data = vrrp.encode(message, source, vrrp.GROUP_IPV6)
    assert vrrp.decode(data, family=6, source=source, destination=vrrp.GROUP_IPV6) == message


@patient
@given(st.sampled_from(arp.Operation), macs, v4, macs, v4, st.binary(max_size=40))
def test_an_arp_message_reads_as_it_was_written(
    operation: arp.Operation,
    sender_mac: bytes,
    sender: IPv4Address,
    target_mac: bytes,
    target: IPv4Address,
    tail: bytes,
) -> None:
    """Padding behind it is not a part of it."""
    message = arp.ArpMessage(operation, sender_mac, sender, target_mac, target)
    assert arp.decode(arp.encode(message, frame.BROADCAST_MAC) + tail) == message


@patient
@given(
    st.one_of(st.tuples(v4, v4), st.tuples(v6, v6)),
    st.integers(61, 138),
    st.binary(max_size=1400),
    st.binary(max_size=40),
)
def test_a_packet_reads_as_it_was_written(ends: tuple[Any, Any], protocol: int, payload: bytes, padding: bytes) -> None:
    """Protocols that are no extension headers; padding of the Ethernet frame is dropped."""
    protocol = 112 if protocol == 135 else protocol
    ethertype = frame.ETHERTYPE_IPV4 if ends[0].version == 4 else frame.ETHERTYPE_IPV6
    whole = frame.ethernet_frame(bytes(6), bytes(6), ethertype, frame.ip_packet(*ends, protocol, payload) + padding)
    packet = frame.parse_frame(whole)
    assert (packet.source, packet.destination, packet.protocol, packet.payload) == (*ends, protocol, payload)


lans = st.builds(
    heartbeat.LanState,
    st.integers(0, 255),
    st.sampled_from(heartbeat.Reach),
    st.lists(st.one_of(v4, v6), max_size=heartbeat.WITNESSES_MAX).map(tuple),
    st.sampled_from(heartbeat.Hears),
)
groups = st.builds(
    heartbeat.GroupState,
    st.integers(0, 255),
    st.sampled_from(heartbeat.Role),
    st.sampled_from(heartbeat.Phase),
    st.integers(0, 255),
    st.sampled_from(heartbeat.Lease),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 32) - 1),
)
bodies = st.builds(
    heartbeat.Body,
    st.binary(min_size=16, max_size=16),
    st.booleans(),
    st.booleans(),
    st.lists(lans, max_size=8).map(tuple),
    st.lists(groups, max_size=heartbeat.GROUPS_MAX).map(tuple),
)


@patient
@given(st.integers(0, 255), st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1), bodies)
def test_a_heartbeat_reads_as_it_was_written(node: int, epoch: int, sequence: int, body: heartbeat.Body) -> None:
    """And it fits a datagram of the channel whatever it says."""
    data = heartbeat.encode(node, epoch, sequence, heartbeat.encode_body(body))
    assert heartbeat.decode(data) == heartbeat.Heartbeat(node, epoch, sequence, body)
    assert len(Channel(bytes(32), 1, 1, frozenset({2})).seal(data, 2, 0)) <= DATAGRAM_MAX


READERS: dict[str, Callable[[bytes], object]] = {
    "vrrp": lambda data: vrrp.decode(data, family=4, source=IPv4Address(1), destination=vrrp.GROUP_IPV4),
    "frame": frame.parse_frame,
    "ndp": ndp.decode,
    "heartbeat": heartbeat.decode,
    "channel": lambda data: Channel(bytes(32), 1, 1, frozenset({2})).open(data, 0),
}


@pytest.mark.parametrize("name", READERS)
def test_a_megabyte_is_refused_for_its_length_alone(name: str) -> None:
    """What is far longer than any message costs no more than a look at its beginning."""
    reader, seed = READERS[name], SEEDS[name][0]
    begun = time.process_time()
    with pytest.raises(DecodeError):
        reader(seed + bytes(1 << 20))
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"a: " * 100_000,
        b"&a [*a, *a]\n" * 1000,
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
        b"cluster: " + b"9" * 200_000,
        b"\xff\xfe" * 1000,
        b"? " * 10_000,
        b"x: !!python/object/apply:os.system [true]\n",
    ],
)
def test_a_file_made_to_exhaust_its_reader_is_refused(text: bytes) -> None:
    """Depth, aliases, digits, encodings, tags that call: problems with a place, in bounded time."""
    begun = time.process_time()
    with pytest.raises(OperatorError):
        load_plan(text)
    assert time.process_time() - begun < 10
