"""Entries as bytes: what is read of them, what travels, what becomes a request, and what hostile bytes do."""

import contextlib
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.errors import DecodeError
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow, Sequence, Tcp, Tuple, build, decode
from understudy.wire.conntrack import attributes as cta
from understudy.wire.conntrack.attributes import attribute, nest
from understudy.wire.conntrack.flow import build_tuple
from understudy.wire.conntrack.requests import reply_request, timeout_request
from understudy.wire.conntrack.shape import Shape, shape_of

CLIENT, SERVER, VIRTUAL = ip_address("10.9.0.11"), ip_address("198.51.100.9"), ip_address("203.0.113.10")
ASSURED = 0x18E
SNAT = Flow(
    Tuple(CLIENT, SERVER, 6, 4711, 80),
    Tuple(SERVER, VIRTUAL, 6, 80, 20001),
    ASSURED | 0x10,
    432000,
    0x400,
    Tcp(3, 7, 9, 0x23, 0x27),
)
PLAIN = replace(SNAT, reply=Tuple(SERVER, CLIENT, 6, 80, 4711), status=ASSURED)
PING = Flow(Tuple(CLIENT, SERVER, 1, 9, 0, 8), Tuple(SERVER, VIRTUAL, 1, 11, 0, 0), 0x19A, 30, 0x400)
IDENTIFIER = attribute(cta.CTA_ID, b"abcd")
ALL: tuple[Callable[[bytes], object], ...] = (
    *(getattr(conntrack, name) for name in conntrack.__all__ if name[0].islower() and name != "build"),
    reply_request,
    lambda raw: timeout_request(raw, 30),
)

addresses4 = st.ip_addresses(v=4)
addresses6 = st.ip_addresses(v=6)
numbers16 = st.integers(0, 0xFFFF)
numbers32 = st.integers(0, 0xFFFF_FFFF)
bytes8 = st.integers(0, 255)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any entry that a kernel could hold, translated in any way."""
    addresses = draw(st.sampled_from((addresses4, addresses6)))
    protocol = draw(st.sampled_from((1, 6, 17, 47, 50, 58, 132, 136)))
    zones = st.just(0) | st.integers(1, 0xFFFF)

    def one() -> Tuple:
        value = Tuple(draw(addresses), draw(addresses), protocol, zone=draw(zones))
        if protocol in (1, 58):
            return replace(value, here=draw(numbers16), kind=draw(bytes8), code=draw(bytes8))
        return value if protocol == 50 else replace(value, here=draw(numbers16), there=draw(numbers16))

    original, reply = one(), one()
    if draw(st.booleans()) and protocol not in (1, 58):
        reply = Tuple(original.destination, original.source, protocol, original.there, original.here)
    nibble = st.integers(0, 15)
    sequence = st.none() | st.builds(Sequence, numbers32, numbers32, numbers32)
    return Flow(
        original,
        reply,
        draw(st.none() | numbers32),
        draw(st.none() | numbers32),
        draw(st.none() | numbers32),
        draw(st.none() | st.builds(Tcp, nibble, nibble, nibble, bytes8, bytes8)) if protocol == 6 else None,
        draw(st.none() | st.tuples(nibble, numbers32, numbers32)) if protocol == 132 else None,
        draw(zones),
        draw(st.sampled_from((b"", bytes(15) + b"\1", b"\xff" * 16))),
        draw(st.sampled_from(("", "ftp", "sip-5060"))),
        draw(st.none() | st.just(original)),
        (draw(sequence), draw(sequence)),
    )


@given(flows())
def test_what_is_built_reads_the_same(flow: Flow) -> None:
    """Every entry survives the way through bytes, and the quick questions answer what the whole reading says."""
    raw = build(flow)
    assert decode(raw) == flow
    assert conntrack.portable(raw) == raw
    assert conntrack.mark_of(raw) == (flow.mark or 0)
    assert conntrack.tcp_state(raw) == (flow.tcp.state if flow.tcp else 0)
    assert conntrack.half_open(raw) == (flow.tcp is not None and flow.tcp.state in (1, 2, 9))
    assert conntrack.protocol_of(raw) == flow.original.protocol
    assert conntrack.timeout_of(raw) == (flow.timeout or 0)
    assert conntrack.describe(raw)


@given(flows(), flows())
def test_identity_is_the_tuples_and_the_zone_and_nothing_else(one: Flow, other: Flow) -> None:
    """Two messages are of the same flow exactly if tuples and zone are equal, whatever else they say."""
    same = replace(other, original=one.original, reply=one.reply, zone=one.zone, tcp=None, sctp=None, master=None)
    assert conntrack.identity(build(one)) == conntrack.identity(build(same))
    assert conntrack.original(build(one)) == conntrack.original(build(same))
    assert conntrack.bucket_and_digest(build(one))[0] == conntrack.bucket_and_digest(build(same))[0]
    differ = (one.original, one.reply, one.zone) != (other.original, other.reply, other.zone)
    assert (conntrack.identity(build(one)) != conntrack.identity(build(other))) == differ


@given(flows())
def test_requests_name_the_flow_and_nothing_unknown(flow: Flow) -> None:
    """A creation has ranges exactly if the tuples differ, and the original turned round as reply; all name it."""
    raw = build(flow)
    made = walked(conntrack.create_request(raw))
    asked = walked(conntrack.update_request(raw))
    ended = walked(conntrack.delete_request(raw))
    original = walked(raw)[cta.CTA_TUPLE_ORIG]
    assert made[cta.CTA_TUPLE_ORIG] == asked[cta.CTA_TUPLE_ORIG] == ended[cta.CTA_TUPLE_ORIG] == original
    assert set(ended) <= {cta.CTA_TUPLE_ORIG, cta.CTA_ZONE}
    forbidden = {cta.CTA_NAT_SRC, cta.CTA_NAT_DST, cta.CTA_TUPLE_MASTER, cta.CTA_HELP, cta.CTA_TUPLE_REPLY}
    assert not forbidden & set(asked)
    one, back = flow.original, flow.reply
    ports = (one.here, one.there) if one.protocol in (1, 58) else (one.there, one.here)
    turned = (one.destination, one.source, *ports)
    translated = (back.source, back.destination, back.here, back.there) != turned
    assert (cta.CTA_NAT_SRC in made) == (cta.CTA_NAT_DST in made) == translated
    bare = decode(conntrack.create_request(raw)).reply
    assert (bare.source, bare.destination, bare.here, bare.there) == turned
    assert made[cta.CTA_STATUS][3] & ~0x0E == 0
    assert asked[cta.CTA_STATUS][3] & ~0x0F == 0
    assert made[cta.CTA_STATUS][3] & asked[cta.CTA_STATUS][3] & 0x08


def test_a_translated_flow_becomes_its_tuples_and_one_range_each_way() -> None:
    """The ranges are the reply's addresses and ports, least and most alike."""
    made = walked(conntrack.create_request(build(SNAT), hold_s=1000))
    assert made[cta.CTA_NAT_SRC] == range_of(VIRTUAL.packed, 20001)
    assert made[cta.CTA_NAT_DST] == range_of(SERVER.packed, 80)
    assert made[cta.CTA_TIMEOUT] == (1000).to_bytes(4, "big")


def test_an_identifier_belongs_to_the_source() -> None:
    """ICMP has one number for both directions: only the source's range changes it."""
    made = walked(conntrack.create_request(build(PING)))
    assert made[cta.CTA_NAT_SRC] == range_of(VIRTUAL.packed, 11)
    assert made[cta.CTA_NAT_DST] == range_of(SERVER.packed, 9)
    assert decode(conntrack.create_request(build(PING))).reply == Tuple(SERVER, CLIENT, 1, 9, 0, 0)


@pytest.mark.parametrize("request_of", [conntrack.create_request, conntrack.update_request])
def test_copies_are_liberal_and_hold(request_of: Callable[..., bytes]) -> None:
    """TCP keeps scales and what its ends agreed on, forgets what it saw, and judges no window; half-open is short."""
    raw = request_of(build(SNAT))
    places = cta.walk(raw, cta.FLOW).values
    said = [raw[slice(*places[f"info/tcp/{each}"])] for each in ("state", "scale_original", "scale_reply")]
    assert said == [b"\3", b"\7", b"\x09"]
    # Flags, and the mask: all of them are said.
    assert raw[slice(*places["info/tcp/flags_original"])] == b"\x0b\xff"
    assert raw[slice(*places["info/tcp/flags_reply"])] == b"\x0f\xff"
    assert walked(raw)[cta.CTA_TIMEOUT] == conntrack.HOLD_S.to_bytes(4, "big")
    assert conntrack.HOLD_S > conntrack.UNTOUCHED_S
    for state in (1, 2, 9):
        half_open = build(replace(SNAT, tcp=Tcp(state)))
        assert walked(request_of(half_open))[cta.CTA_TIMEOUT] == conntrack.HALF_OPEN_S.to_bytes(4, "big")


def test_a_master_and_a_helper_are_created_and_never_changed() -> None:
    """An orphan is created without master only."""
    raw = build(replace(SNAT, helper="ftp", master=PLAIN.original))
    made, alone = (walked(conntrack.create_request(raw, orphan=orphan)) for orphan in (False, True))
    assert made.pop(cta.CTA_TUPLE_MASTER)
    assert made[cta.CTA_HELP] == attribute(cta.CTA_HELP_NAME, b"ftp\0")
    assert alone == made


@pytest.mark.parametrize("flow", [SNAT, PLAIN, PING, replace(PING, zone=7)])
def test_what_belongs_to_one_kernel_does_not_travel(flow: Flow) -> None:
    """Identifier, counters and the unknown are cut out, wherever they stand; the digest does not see them."""
    raw = build(flow)
    alien = nest(9, attribute(1, bytes(8))) + IDENTIFIER + attribute(0x123, b"later")
    end = len(raw) - 8
    for message in (raw + alien, raw[:end] + alien + raw[end:]):
        assert conntrack.portable(message) == raw
        assert conntrack.identity(message) == conntrack.identity(raw)
        assert conntrack.bucket_and_digest(message) == conntrack.bucket_and_digest(raw)
        assert conntrack.create_request(message) == conntrack.create_request(raw)
    assert len(conntrack.remains(raw)) < len(raw)
    assert conntrack.identity(conntrack.remains(raw)) == conntrack.identity(raw)
    assert conntrack.mark_of(conntrack.remains(raw)) == 0x400


@pytest.mark.parametrize(
    ("holder", "member"),
    [
        (cta.CTA_HELP, attribute(2, b"for a helper in user space")),
        (cta.CTA_PROTOINFO, nest(9, attribute(1, bytes(8)))),
        (cta.CTA_SEQ_ADJ_ORIG, attribute(9, bytes(4))),
    ],
)
def test_the_unknown_inside_of_the_known_does_not_travel(holder: int, member: bytes) -> None:
    """No kernel sees what is not in our tables, at whatever depth: neither sent nor written."""
    flow = replace(SNAT, helper="ftp", sequences=(Sequence(1, 2, 3), None))
    raw = build(flow)
    whole = {kind: attribute(kind | cta.NLA_F_NESTED, value) for kind, value in walked(raw).items()}
    strange = raw.replace(whole[holder], nest(holder, walked(raw)[holder], member))
    assert len(strange) > len(raw)
    for ask in (conntrack.portable, conntrack.create_request, conntrack.update_request):
        assert ask(strange) == ask(raw)
    assert conntrack.identity(strange) == conntrack.identity(raw)
    nat = nest(cta.CTA_EXPECT_NAT, attribute(1, bytes(4)), build_tuple(2, PLAIN.original))
    bent = EXPECTED + nest(cta.CTA_EXPECT_NAT, walked(EXPECTED + nat)[cta.CTA_EXPECT_NAT], IDENTIFIER)
    assert conntrack.expect_create_request(bent) == conntrack.expect_create_request(EXPECTED + nat)


def test_what_a_client_may_choose_makes_no_shape() -> None:
    """Type and code of ICMP, the protocol: were each learnt anew, a client could keep a node busy with learning."""
    pings = [build(replace(PING, original=replace(PING.original, kind=each, code=each))) for each in range(256)]
    assert len({id(shape_of(raw)) for raw in pings}) == 1
    assert {decode(raw).original.code for raw in pings} == set(range(256))
    protocols = [build(Flow(Tuple(CLIENT, SERVER, each), Tuple(SERVER, CLIENT, each), 8)) for each in range(140, 256)]
    known = [shape_of(raw) for raw in protocols]
    assert [shape_of(raw) for raw in protocols] == known


@pytest.mark.parametrize(
    "other",
    [
        replace(SNAT, mark=0x401),
        replace(SNAT, tcp=Tcp(4, 7, 9, 0x23, 0x27)),
        replace(SNAT, tcp=Tcp(3, 7, 8, 0x23, 0x27)),
        replace(SNAT, status=0x18A | 0x10),
        replace(SNAT, labels=bytes(15) + b"\1"),
        replace(SNAT, helper="ftp"),
    ],
)
def test_the_digest_tells_what_kernels_must_agree_on(other: Flow) -> None:
    """Mark, state, scale, status, labels, helper change the digest and not the bucket; what drifts changes neither."""
    drifted = replace(SNAT, timeout=5, tcp=Tcp(3, 7, 9, 0x0B, 0x0B), status=SNAT.status | 0x400)
    bucket, digest = conntrack.bucket_and_digest(build(SNAT))
    assert conntrack.bucket_and_digest(build(drifted)) == (bucket, digest)
    assert conntrack.bucket_and_digest(build(other))[0] == bucket
    assert conntrack.bucket_and_digest(build(other))[1] != digest


@pytest.mark.parametrize(
    ("flow", "line"),
    [
        (SNAT, "tcp 10.9.0.11:4711 -> 198.51.100.9:80 via 203.0.113.10:20001, established"),
        (PLAIN, "tcp 10.9.0.11:4711 -> 198.51.100.9:80, established"),
        (PING, "icmp 10.9.0.11 -> 198.51.100.9 via 203.0.113.10"),
        (
            Flow(Tuple(SERVER, VIRTUAL, 17, 53, 80), Tuple(CLIENT, SERVER, 17, 8080, 53), zone=3),
            "udp 198.51.100.9:53 -> 203.0.113.10:80 to 10.9.0.11:8080, zone 3",
        ),
        (
            Flow(*(Tuple(ip_address(a), ip_address(b), 6, 1, 2) for a, b in (("::1", "::2"), ("::2", "::1")))),
            "tcp [::1]:1 -> [::2]:2 via [::1]:2 to [::2]:1",
        ),
    ],
)
def test_a_line_for_people(flow: Flow, line: str) -> None:
    """Who speaks to whom, and as whom."""
    assert conntrack.describe(build(flow)) == line


def test_a_known_shape_does_not_make_a_message_valid() -> None:
    """What the first message of a shape was checked for, the next is refused for: padding, header, order, value."""
    raw = build(SNAT)
    conntrack.identity(raw)
    found = cta.walk(raw, cta.FLOW)
    port = found.values["original/proto/source_port"]
    state = found.values["info/tcp/state"][0]
    for place, byte in ((port[1], 1), (0, 3), (1, 1), (4, 51), (5, 1), (6, 9), (7, 0), (state, 0x13), (state + 1, 1)):
        bent = raw[:place] + bytes((byte,)) + raw[place + 1 :]
        assert bent != raw
        with pytest.raises(DecodeError):
            conntrack.identity(bent)
    assert conntrack.identity(bytes(raw)) == conntrack.identity(raw)


@given(flows(), st.data())
def test_a_shape_is_only_a_memory(flow: Flow, data: st.DataObject) -> None:
    """A message that differs in any one byte is read, or refused, as if no other had been read before."""
    raw = build(flow)
    conntrack.identity(raw)
    place = data.draw(st.integers(0, len(raw) - 1))
    bent = raw[:place] + bytes((data.draw(bytes8),)) + raw[place + 1 :]
    try:
        alone = Shape(bent)
    except DecodeError:
        with pytest.raises(DecodeError):
            conntrack.identity(bent)
        return
    assert conntrack.mark_of(bent) == (int.from_bytes(bent[alone.mark : alone.mark + 4], "big") if alone.mark else 0)
    assert conntrack.identity(bent).startswith(bent[4 : alone.reply_end])
    assert conntrack.protocol_of(bent) == alone.protocol


@given(st.binary(max_size=400))
def test_any_bytes_raise_the_declared_error_only(data: bytes) -> None:
    """Whatever function meets them."""
    for function in ALL:
        with contextlib.suppress(DecodeError):
            function(data)


@given(flows(), st.data())
def test_bent_messages_raise_the_declared_error_only(flow: Flow, data: st.DataObject) -> None:
    """Cut, spliced and bent messages, as flows and as expectations."""
    raw = bytearray(build(flow))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(bytes8)
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    for message in (bytes(raw), cut, bytes(raw) + cut):
        for function in ALL:
            with contextlib.suppress(DecodeError):
                function(message)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        build(SNAT)[:4],
        build(SNAT)[4:],
        build(SNAT) + IDENTIFIER * 300,
        build(SNAT)[:4] + build(SNAT)[56:],
        build(SNAT)[:56] + build(PING)[4:],
        b"\x02\0\0\0" + build(replace(SNAT, mark=None))[56:108] + build(SNAT)[4:56],
    ],
)
def test_a_deletion_without_a_tuple_is_never_made(raw: bytes) -> None:
    """The kernel would take it as a deletion of everything."""
    with pytest.raises(DecodeError):
        conntrack.delete_request(raw)


EXPECTED = b"\x02\0\0\0" + b"".join(
    (
        build_tuple(cta.CTA_EXPECT_TUPLE, Tuple(SERVER, VIRTUAL, 6, 0, 4000)),
        build_tuple(cta.CTA_EXPECT_MASK, Tuple(VIRTUAL, VIRTUAL, 6, 0, 0xFFFF)),
        build_tuple(cta.CTA_EXPECT_MASTER, PLAIN.original),
        attribute(cta.CTA_EXPECT_TIMEOUT, bytes(4)),
        attribute(cta.CTA_EXPECT_ID, b"abcd"),
        attribute(cta.CTA_EXPECT_HELP_NAME, b"ftp\0"),
    )
)


def test_an_expectation_travels_without_its_number_and_time() -> None:
    """Creation has its three tuples and the helper, deletion only its own tuple."""
    made = walked(conntrack.expect_create_request(EXPECTED))
    assert set(made) == {cta.CTA_EXPECT_TUPLE, cta.CTA_EXPECT_MASK, cta.CTA_EXPECT_MASTER, cta.CTA_EXPECT_HELP_NAME}
    assert set(walked(conntrack.expect_delete_request(EXPECTED))) == {cta.CTA_EXPECT_TUPLE}
    assert conntrack.expectation(conntrack.portable_expectation(EXPECTED)) == conntrack.expectation(EXPECTED)
    assert conntrack.master_request(EXPECTED) == conntrack.delete_request(build(PLAIN))


def test_an_expectation_without_a_tuple_deletes_nothing() -> None:
    """The kernel would take it as a deletion of all."""
    with pytest.raises(DecodeError):
        conntrack.expect_delete_request(EXPECTED[:4] + EXPECTED[56:])


def walked(raw: bytes) -> dict[int, bytes]:
    """Top-level attributes, by a reader of the test's own."""
    found: dict[int, bytes] = {}
    offset = 4
    while offset < len(raw):
        size, kind = struct.unpack_from("=HH", raw, offset)
        assert kind & 0x3FFF not in found
        found[kind & 0x3FFF] = raw[offset + 4 : offset + size]
        offset += size + -size % 4
    assert offset == len(raw)
    return found


def range_of(address: bytes, port: int) -> bytes:
    ends = (attribute(each, port.to_bytes(2, "big")) for each in (1, 2))
    return attribute(1, address) + attribute(2, address) + nest(3, *ends)
