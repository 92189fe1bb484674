"""RFC 3768, where version 2 differs from version 3: the packet, the timers, what is discarded."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from rfc9568_lan import ADDRESSES, HIGHER, INTERVAL, LOCAL, PRIORITY, START, VRID, at, of_kind

from understudy.core.settings import RouterSettings
from understudy.core.vrrp import (
    AdvertisementReceived,
    Discarded,
    Event,
    Mismatched,
    SendAdvertisement,
    Startup,
    State,
    Tick,
    VirtualRouter,
)
from understudy.errors import DecodeError
from understudy.units import SECOND, Address, NetworkName, Priority
from understudy.wire.checksum import checksum
from understudy.wire.vrrp import GROUP_IPV4, Advertisement, decode, encode

_SOURCE = IPv4Address("10.9.0.1")
_SETTINGS = RouterSettings(NetworkName("inside"), 4, VRID, PRIORITY, ADDRESSES[4], 200, version=2)
"""Every two seconds."""
_SKEW = 156 * SECOND // 256
_PEER = IPv4Address("10.9.1.1")


def _backup(settings: RouterSettings = _SETTINGS) -> VirtualRouter:
    machine = VirtualRouter(settings)
    machine.handle(START, Startup())
    return machine


def _active() -> VirtualRouter:
    machine = _backup()
    machine.handle(at(6 * INTERVAL + _SKEW), Tick())
    assert machine.state is State.ACTIVE
    return machine


def _heard(priority: int, *, interval_cs: int = 200, version: int = 2, unicast: bool = False) -> Event:
    advertisement = Advertisement(VRID, Priority(priority), interval_cs, ADDRESSES[4], 4, version, unicast=unicast)
    return AdvertisementReceived(HIGHER, advertisement, LOCAL)


def _message() -> bytearray:
    advertisement = Advertisement(VRID, PRIORITY, 200, (IPv4Address("10.9.0.254"),), 4, 2)
    return bytearray(encode(advertisement, _SOURCE, GROUP_IPV4))


def _read(message: bytes | bytearray) -> Advertisement:
    return decode(bytes(message), family=4, source=_SOURCE, destination=GROUP_IPV4)


def _refused(message: bytearray) -> str:
    """Why, with the checksum right again."""
    message[6:8] = bytes(2)
    message[6:8] = checksum(bytes(message)).to_bytes(2, "big")
    with pytest.raises(DecodeError) as error:
        _read(message)
    return error.value.reason


def test_the_packet_is_that_of_section_5_1() -> None:
    """Worked out by hand: version 2 type 1, VRID 7, priority 100, one address, no authentication, 2 s, the sum."""
    words = (0x2107, 0x6401, 0x0002, 0x0A09, 0x00FE)
    sum_ = 0xFFFF - sum(words) % 0xFFFF
    assert _message().hex() == f"210764010002{sum_:04x}0a0900fe" + "00" * 8


def test_the_checksum_covers_the_message_alone_and_all_of_it() -> None:
    """Section 5.3.8: from the version to the authentication data; a pseudo-header is never asked for."""
    message = _message()
    assert _read(message).pseudo_header is False
    message[-1] ^= 1
    with pytest.raises(DecodeError, match="checksum"):
        _read(message)


@pytest.mark.parametrize("kind", [1, 2, 255])
def test_another_authentication_must_be_discarded(kind: int) -> None:
    """Section 7.1: the locally configured method is none (section 5.3.6.1), whatever the data say."""
    message = _message()
    message[4] = kind
    assert _refused(message) == "authentication"


def test_authentication_data_are_ignored() -> None:
    """Section 5.3.10: zero when sent, ignored on reception."""
    message = _message()
    message[-8:] = b"whatever"
    message[6:8] = bytes(2)
    message[6:8] = checksum(bytes(message)).to_bytes(2, "big")
    assert _read(message) == _read(_message())


@pytest.mark.parametrize("length", [7, 8, 12, 19])
def test_a_packet_shorter_than_its_header_says_must_be_discarded(length: int) -> None:
    """Section 7.1: the authentication data belong to it."""
    with pytest.raises(DecodeError, match=r"truncated|length"):
        _read(_message()[:length])


def test_an_interval_of_nothing_is_refused() -> None:
    """Section 5.3.7: whole seconds, the default is one."""
    message = _message()
    message[5] = 0
    assert _refused(message) == "interval"


def test_skew_time_is_a_part_of_one_second() -> None:
    """Section 6.1: (256 - Priority) / 256 seconds, whatever the interval; Master_Down_Interval is 3 of these and it."""
    machine = _backup()
    assert machine.skew_time == _SKEW
    assert machine.next_deadline() == at(6 * INTERVAL + _SKEW)
    assert VirtualRouter(replace(_SETTINGS, version=3)).skew_time == 2 * _SKEW


def test_another_interval_must_be_discarded_and_is_told_once() -> None:
    """Section 7.1: must be the same as the locally configured; in version 3 it would be learned."""
    machine = _backup()
    assert machine.handle(at(1), _heard(200, interval_cs=100)) == [
        Discarded("vrrp-interval"),
        Mismatched("interval", HIGHER),
    ]
    assert machine.handle(at(2), _heard(200, interval_cs=100)) == [Discarded("vrrp-interval")]
    assert machine.next_deadline() == at(6 * INTERVAL + _SKEW)
    machine.handle(at(3), _heard(200))
    assert machine.next_deadline() == at(6 * INTERVAL + _SKEW + 3)


def test_a_losing_advertisement_is_discarded_without_an_answer() -> None:
    """Section 6.4.3: the answer came with RFC 9568."""
    assert of_kind(_active().handle(at(7 * SECOND), _heard(99)), SendAdvertisement) == []


def test_a_farewell_leaves_the_skew() -> None:
    """Section 6.4.2."""
    machine = _backup()
    machine.handle(at(1), _heard(0))
    assert machine.next_deadline() == at(1 + _SKEW)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 3), (3, 2)])
def test_the_receiver_must_verify_the_version(ours: int, theirs: int) -> None:
    """Section 7.1 here and in RFC 9568: counted, told once, without influence, in either direction."""
    machine = _backup(replace(_SETTINGS, version=ours))
    before = machine.next_deadline()
    expected = [Discarded("vrrp-version"), Mismatched("version", HIGHER)]
    assert machine.handle(at(1), _heard(200, version=theirs)) == expected
    assert machine.handle(at(2), _heard(200, version=theirs)) == expected[:1]
    assert machine.next_deadline() == before
    assert machine.last_heard is None


@pytest.mark.parametrize(
    ("peers", "unicast", "reason"),
    [
        ((), True, "unicast"),
        ((_PEER,), False, "multicast"),
        ((IPv4Address("10.9.0.77"),), True, "stranger"),
        ((_PEER,), True, ""),
        ((), False, ""),
    ],
)
def test_advertisements_are_taken_as_the_file_has_it(peers: tuple[Address, ...], unicast: bool, reason: str) -> None:
    """Multicast or, from the peers' own addresses alone, unicast; the rest is counted and told once."""
    machine = _backup(replace(_SETTINGS, unicast=peers))
    effects = machine.handle(at(1), _heard(200, unicast=unicast))
    assert effects == ([Discarded(f"vrrp-{reason}"), Mismatched(reason, HIGHER)] if reason else [])
    assert (machine.last_heard is None) == bool(reason)


def test_another_source_is_refused_also_after_the_peer_was_heard() -> None:
    """The same bytes from elsewhere: what was checked once is no excuse."""
    machine = _backup(replace(_SETTINGS, unicast=(_PEER,)))
    event = _heard(200, unicast=True)
    assert isinstance(event, AdvertisementReceived)
    machine.handle(at(1), event)
    assert machine.handle(at(2), replace(event, source=IPv4Address("10.9.0.78")))[0] == Discarded("vrrp-stranger")


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("seen", [True, False])
def test_the_form_of_the_checksum_is_told_when_it_is_the_other(configured: bool, seen: bool) -> None:
    """Either is believed; that the peer may not believe ours is worth a line, once."""
    machine = _backup(replace(_SETTINGS, version=3, pseudo_header=configured))
    advertisement = Advertisement(VRID, Priority(200), 200, ADDRESSES[4], 4, 3, pseudo_header=seen)
    told = of_kind(machine.handle(at(1), AdvertisementReceived(HIGHER, advertisement, LOCAL)), Mismatched)
    assert told == ([] if seen == configured else [Mismatched("checksum", HIGHER)])
    again = replace(advertisement, priority=Priority(201))
    assert machine.handle(at(2), AdvertisementReceived(HIGHER, again, LOCAL)) == []
    assert machine.last_heard == at(2)
