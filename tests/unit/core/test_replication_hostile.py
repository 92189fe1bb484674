"""Bytes that should not be: whatever arrives in the channel, the machine goes on and forgets nothing."""

import random

import pytest
from replication_world import EDGE, PATHS, Node, World

from understudy.core.replication.events import Drained, Listed, Received, Written
from understudy.units import MILLISECOND, SECOND, NetworkName
from understudy.wire.flowsync import Message, Word, encode_data, pack_record

COUNT = 10_000


def recorded(world: World) -> list[bytes]:
    """What gw1 says while flows come and go and agree."""
    payloads: list[bytes] = []

    def record(sender: Node, _: Node, __: str, payload: bytes) -> bool:
        if sender is world.gw1:
            payloads.append(payload)
        return True

    world.spy = record
    world.populate(world.gw1, 50)
    world.boot()
    for _ in range(30):
        world.traffic(world.gw1, 10)
        world.run(10 * MILLISECOND)
    world.spy = None
    world.run(SECOND)
    assert world.equal()
    return payloads


def replay(payload: bytes, _: random.Random) -> bytes:
    return payload


def truncate(payload: bytes, dice: random.Random) -> bytes:
    """At a place that is no border between records: nothing may be taken from a part."""
    if payload[1] != Message.DATA:
        return payload[: dice.randrange(len(payload))]
    return payload[: dice.randrange(18)]


def another_version(payload: bytes, dice: random.Random) -> bytes:
    return bytes([dice.randrange(2, 256)]) + payload[1:]


def unknown_kind(payload: bytes, dice: random.Random) -> bytes:
    return payload[:1] + bytes([dice.randrange(8, 256)]) + payload[2:]


def noise(_: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(1400))


def another_stream(payload: bytes, dice: random.Random) -> bytes:
    """Of an earlier start of the sender."""
    return payload[:2] + dice.randrange(1, 1000).to_bytes(8, "big") + payload[10:]


def overlong_record(payload: bytes, dice: random.Random) -> bytes:
    if payload[1] != Message.DATA or len(payload) < 30:
        return b""
    return payload[:19] + dice.randrange(1300, 65536).to_bytes(2, "big") + payload[21:]


@pytest.mark.parametrize(
    "forge", [replay, truncate, another_version, unknown_kind, noise, another_stream, overlong_record]
)
def test_10000_bad_payloads_change_nothing(forge) -> None:  # type: ignore[no-untyped-def]  # one of the above
    """Replayed, truncated, garbled, of other streams and versions: kernels, positions, completeness are as before."""
    world = World(2)
    payloads = recorded(world)
    dice = random.Random(5)
    flows = dict(world.gw2.kernel.flows)
    [pair] = world.gw2.machine.pairs
    before = pair.replica.stream, pair.replica.received, pair.origin.position, dict(world.gw2.complete)
    for index in range(COUNT):
        payload = forge(dice.choice(payloads), dice)
        world.gw2.handle(Received(1, dice.choice(PATHS), payload))
        if index % 500 == 0:
            world.run(MILLISECOND)
    assert (pair.replica.stream, pair.replica.received, pair.origin.position, world.gw2.complete) == before
    world.run(SECOND)
    assert world.gw2.kernel.flows == flows
    assert world.gw2.complete[EDGE] is True
    [key] = world.populate(world.gw1, 1)
    world.run(100 * MILLISECOND)
    assert key in world.gw2.kernel.flows


def test_garbled_bytes_never_end_the_machine_and_agreement_mends_what_they_wrote() -> None:
    """Random changes inside of genuine messages, as if the peer itself were broken: no exception, and after its restart
    the kernels agree again.
    """
    world = World(3)
    payloads = recorded(world)
    dice = random.Random(6)
    for index in range(COUNT):
        payload = bytearray(dice.choice(payloads))
        for _ in range(dice.randrange(1, 8)):
            payload[dice.randrange(10, len(payload))] = dice.randrange(256)
        world.gw2.handle(Received(1, dice.choice(PATHS), bytes(payload)))
        if index % 500 == 0:
            world.run(20 * MILLISECOND)
    world.gw1.stop()
    world.run(SECOND)
    world.gw1.boot()
    world.until(lambda: world.gw2.complete[EDGE] is True and world.equal())


def test_words_and_records_with_hostile_content_are_dropped() -> None:
    """In the stream's own order and with the right number, but no message of a kernel in it."""
    world = World(4).boot()
    world.until(lambda: world.gw2.complete.get(EDGE) is True)
    [pair] = world.gw2.machine.pairs
    dice = random.Random(7)
    for _ in range(2000):
        packed = b"".join(
            pack_record(dice.choice([1, 2, 3, 4, *Word]), dice.randbytes(dice.randrange(40))) for _ in range(5)
        )
        payload = encode_data(pair.replica.stream, pair.replica.received + 1, packed)
        pair.now = world.now
        world.gw2.kernel.write = len  # type: ignore[method-assign]  # refuses all of it
        world.gw2.handle(Received(1, PATHS[0], payload))
    world.run(SECOND)
    assert world.gw2.running


def test_strangers_and_answers_to_nothing_are_ignored() -> None:
    """Another node's number, a network that is none of the paths, numbers that were never given."""
    world = World(5).boot()
    world.until(lambda: world.gw2.complete.get(EDGE) is True)
    status = world.gw2.machine.status()["groups"]
    for event in (
        Received(9, PATHS[0], b"\x01"),
        Received(1, NetworkName("elsewhere"), b"\x01"),
        Written(10**9),
        Listed(10**9, (b"", b"\0" * 5), True),
        Drained(10**9),
    ):
        world.gw2.handle(event)
    assert world.gw2.machine.status()["groups"][EDGE]["complete"] == status[EDGE]["complete"] is True
    assert world.gw2.machine.dropped == {"flowsync-network": 1}
