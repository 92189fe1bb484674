"""Counted ports on the node that takes over: behind those that the replicated flows have."""

from understudy.core.allocation.ports import FIRST, LAST, FlowKey, Ports
from understudy.units import Instant

ADDRESS, UDP = 0xCB007105, 17


def given(ports: Ports, own: int = 4000, *, aside: bool = False) -> int:
    flow = FlowKey(UDP, 0x0A090005, own, 0xC6336409, 53)
    return ports.give(Instant(0), [(ADDRESS, flow)], aside=aside)[ADDRESS, flow]


def test_counting_goes_on_behind_the_highest_port_of_a_flow() -> None:
    ports = Ports()
    ports.resume([(ADDRESS, UDP, 4000, FIRST + 7), (ADDRESS, UDP, 4001, FIRST + 3), (ADDRESS + 1, UDP, 1, FIRST + 90)])
    assert given(ports) == FIRST + 8
    assert given(Ports()) == FIRST


def test_ports_that_are_set_aside_have_counters_of_their_own() -> None:
    ports = Ports()
    ports.resume([(ADDRESS, UDP, 500, 513), (ADDRESS, UDP, 4500, 4501)])
    assert given(ports, 500, aside=True) == 514
    assert given(ports, 4500, aside=True) == 4502


def test_the_last_port_is_followed_by_the_first() -> None:
    ports = Ports()
    ports.resume([(ADDRESS, UDP, 4000, LAST)])
    assert given(ports) == FIRST


def test_another_protocols_ports_are_its_own() -> None:
    ports = Ports()
    ports.resume([(ADDRESS, 6, 4000, FIRST + 7)])
    assert given(ports) == FIRST
