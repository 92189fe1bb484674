"""Whatever arrives, nothing is raised, nothing is believed that should not be, and deadlines stay sane."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from core_pair import PAIR_FILE
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.config import load_plan
from understudy.core.effects import Dropped
from understudy.core.events import (
    AddressAnswered,
    CarrierChanged,
    CheckFinished,
    Event,
    FlowsReady,
    GateWaived,
    HeartbeatReceived,
    LocalAddressLearned,
    MaintenanceCommanded,
    Quietened,
    RoleSet,
    Started,
    StopCommanded,
    SwitchoverCommanded,
    SyncChanged,
    Tick,
    VrrpReceived,
    WitnessAnswered,
    WitnessesLearned,
)
from understudy.core.node import Node
from understudy.errors import DecodeError
from understudy.units import MILLISECOND, GroupName, Instant, NetworkName, NodeName, Priority, Vrid
from understudy.wire.frame import Packet, parse_frame
from understudy.wire.heartbeat import Body, GroupState, LanState, Lease, Phase, Reach, Role, Sync, encode, encode_body
from understudy.wire.vrrp import Advertisement, advertisement_frame, virtual_mac

PLAN = load_plan(PAIR_FILE)
EDGE = GroupName("edge")
NETWORKS = st.sampled_from([*(network.name for network in PLAN.networks), NetworkName("elsewhere")])
LANS = st.sampled_from([network.name for network in PLAN.networks])
DIGEST = PLAN.digest


def node(name: str = "gw2", *, stateful: bool = False) -> Node:
    told = PLAN.settings(NodeName(name))
    groups = tuple(replace(group, stateful=stateful) for group in told.groups)
    machine = Node(replace(told, groups=groups), epoch=1)
    for network, address in (("outside", "203.0.113.2"), ("inside", "10.9.0.2")):
        machine.handle(Instant(0), LocalAddressLearned(NetworkName(network), 4, IPv4Address(address)))
    machine.handle(Instant(0), Started())
    return machine


def advertisement(priority: int, interval: int, source: int) -> Packet:
    """Of either node, a stranger or gw2 itself."""
    address = IPv4Address("203.0.113.0") + source
    message = Advertisement(Vrid(31), Priority(priority), interval, (IPv4Address("203.0.113.10"),), 4)
    return parse_frame(advertisement_frame(message, address, virtual_mac(Vrid(31), 4)))


packets = st.one_of(
    st.builds(advertisement, st.integers(0, 255), st.sampled_from([1, 10, 100, 4095]), st.integers(1, 3)),
    st.builds(
        Packet,
        st.just(4),
        st.just(IPv4Address("10.9.0.1")),
        st.just(IPv4Address("224.0.0.18")),
        st.sampled_from([112, 17]),
        st.sampled_from([255, 64]),
        st.binary(max_size=60),
    ),
)
bodies = st.builds(
    Body,
    st.sampled_from([DIGEST, bytes(16)]),
    st.booleans(),
    st.booleans(),
    st.lists(st.builds(LanState, st.integers(0, 255), st.sampled_from(Reach)), max_size=4).map(tuple),
    st.lists(
        st.builds(
            GroupState,
            st.sampled_from([1, 1, 1, 9]),
            st.sampled_from(Role),
            st.sampled_from(Phase),
            st.integers(0, 3),
            st.sampled_from(Lease),
            st.integers(0, 3),
            st.integers(0, 1 << 40),
            st.integers(0, 9),
            st.sampled_from(Sync),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)
payloads = st.one_of(
    st.builds(
        lambda epoch, number, body: encode(1, epoch, number, encode_body(body)),
        st.integers(0, 3),
        st.integers(0, 99),
        bodies,
    ),
    st.binary(max_size=200),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(VrrpReceived, NETWORKS, packets),
    st.builds(HeartbeatReceived, NETWORKS, st.integers(0, 3), payloads),
    st.builds(CarrierChanged, NETWORKS, st.booleans()),
    st.builds(WitnessAnswered, NETWORKS, st.just(IPv4Address("10.9.0.11"))),
    st.builds(WitnessesLearned, NETWORKS, st.just((IPv4Address("10.9.0.11"),))),
    st.builds(AddressAnswered, st.just(EDGE), st.just(IPv4Address("10.9.0.254"))),
    st.builds(RoleSet, st.just(EDGE), st.booleans(), st.integers(0, 6), st.sampled_from(["", "no such device"])),
    st.builds(CheckFinished, st.integers(0, 5), st.booleans(), st.just("x")),
    st.builds(SwitchoverCommanded, st.sampled_from([EDGE, GroupName("other")]), st.booleans()),
    st.builds(MaintenanceCommanded, st.booleans(), st.booleans()),
    st.builds(GateWaived, st.sampled_from([EDGE, GroupName("other")])),
    st.builds(FlowsReady, st.just(EDGE), st.integers(0, 4), st.booleans(), st.just("x"), st.booleans()),
    st.builds(SyncChanged, st.sampled_from([EDGE, GroupName("other")]), st.booleans(), st.just("x")),
    st.builds(Quietened, st.just(EDGE), st.integers(0, 4)),
    st.just(StopCommanded()),
    st.just(Tick()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), events), max_size=60), st.booleans())
def test_no_sequence_of_events_raises_or_stops_the_clock(story: list[tuple[int, Any]], stateful: bool) -> None:
    """Ticks come when they are asked for, everything else whenever; after a Tick the next deadline lies ahead."""
    machine = node(stateful=stateful)
    now = 0
    for wait_ms, event in story:
        until = now + wait_ms * MILLISECOND
        for _ in range(500):
            due = machine.next_deadline()
            if due is None or due > until:
                break
            now = max(now, due)
            machine.handle(Instant(now), Tick())
            after = machine.next_deadline()
            assert after is None or after > now
        now = until
        machine.handle(Instant(now), event)


@given(st.binary(max_size=300), LANS)
def test_bytes_in_a_heartbeat_are_counted_and_change_nothing(payload: bytes, network: NetworkName) -> None:
    """Authenticated by the channel, and still not trusted."""
    machine = node()
    effects = machine.handle(Instant(1), HeartbeatReceived(network, 1, payload))
    assert [type(effect) for effect in effects[:1]] == [Dropped]
    assert not machine.peer.fresh
    assert sum(machine.dropped.values()) == 1


@given(st.binary(max_size=200))
def test_bytes_on_the_lan_never_raise(frame: bytes) -> None:
    """What is no frame is refused by the decoder; what is one goes in."""
    machine = node()
    try:
        packet = parse_frame(frame)
    except DecodeError:
        return
    machine.handle(Instant(1), VrrpReceived(NetworkName("outside"), packet))


def test_words_of_an_earlier_life_or_a_stranger_are_not_believed() -> None:
    """Epochs only grow, and only the peer is the peer."""
    machine = node()
    body = encode_body(Body(DIGEST, True, False, (), ()))
    network = NetworkName("sync")
    machine.handle(Instant(1), HeartbeatReceived(network, 1, encode(1, 5, 1, body)))
    for payload, sender in ((encode(1, 4, 9, body), 1), (encode(2, 5, 9, body), 1), (encode(3, 5, 9, body), 3)):
        machine.handle(Instant(2), HeartbeatReceived(network, sender, payload))
    assert machine.dropped == {"heartbeat-old-epoch": 1, "heartbeat-stranger": 2}
    assert (machine.peer.epoch, machine.peer.sequence) == (5, 1)
