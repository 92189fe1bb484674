"""Bytes that should not be: whatever arrives in the channel, the machine goes on and forgets nothing."""

import random

import pytest
from replication_world import EDGE, PATHS, Node, World, flow

from understudy.core.replication import round as round_
from understudy.core.replication.effects import Cancel, Effect, Elsewhere, List, Noted
from understudy.core.replication.events import Drained, Kind, Listed, Received, Written
from understudy.core.replication.pair import ANSWER_EVERY
from understudy.core.replication.replica import QUEUE_MAX
from understudy.units import MILLISECOND, SECOND, NetworkName
from understudy.wire.flowsync import (
    VERSION,
    Beacon,
    Compare,
    Message,
    Scope,
    Word,
    encode_beacon,
    encode_compare,
    encode_data,
    pack_record,
)

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


def unknown_kind(payload: bytes, dice: random.Random) -> bytes:
    return payload[:1] + bytes([dice.randrange(8, 256)]) + payload[2:]


def noise(_: bytes, dice: random.Random) -> bytes:
    return bytes([VERSION]) + dice.randbytes(dice.randrange(1400))


def another_stream(payload: bytes, dice: random.Random) -> bytes:
    """Of an earlier start of the sender."""
    return payload[:2] + dice.randrange(1, 1000).to_bytes(8, "big") + payload[10:]


def overlong_record(payload: bytes, dice: random.Random) -> bytes:
    if payload[1] != Message.DATA or len(payload) < 30:
        return b""
    return payload[:19] + dice.randrange(1300, 65536).to_bytes(2, "big") + payload[21:]


@pytest.mark.parametrize("forge", [replay, truncate, unknown_kind, noise, another_stream, overlong_record])
def test_10000_bad_payloads_change_nothing(forge) -> None:  # type: ignore[no-untyped-def]  # one of the above
    """Replayed, truncated, garbled, of other streams: kernels, positions, completeness are as before."""
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


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_peer_of_another_version_is_refused_by_name_and_known_again(version: int) -> None:
    """Not misread, not believed to be equal: both say which it speaks, in status and once in the journal. When it comes
    back in ours all is proven anew.
    """
    world = standing()
    for receiver, sender in ((world.gw2, 1), (world.gw1, 2)):
        [pair] = receiver.machine.pairs
        for count in range(1, 5):
            beacon = Beacon(pair.replica.stream + 1, 1, 1, 2, count, 0)
            payload = bytes([version]) + encode_beacon(beacon)[1:]
            receiver.handle(Received(sender, PATHS[0], payload))
        [word] = [effect.detail for effect in receiver.effects(Noted) if effect.kind == "flows-version"]
        assert f"version {version} " in word
        status = receiver.machine.status()
        assert (status["groups"][EDGE]["complete"], status["groups"][EDGE]["detail"]) == (False, word)
        assert status["dropped"] == {"flowsync-version": 4}
    assert world.gw2.complete[EDGE] is False
    world.gw1.stop()
    world.gw1.boot()
    world.until(lambda: world.gw2.complete[EDGE] is True)
    for node in world.nodes.values():
        world.until(lambda node=node: node.machine.status()["groups"][EDGE]["complete"])  # type: ignore[misc]
        assert "version" not in node.machine.status()["groups"][EDGE]["detail"]


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


def standing() -> World:
    """Two nodes, and everything agreed."""
    world = World(4).boot()
    world.until(lambda: world.gw2.complete.get(EDGE) is True)
    return world


def test_a_peer_that_heeds_no_credit_takes_no_memory() -> None:
    """What is too much is dropped, and taken when it comes again; whoever heeds the credit never gets so far."""
    world = standing()
    (pair,) = world.gw2.machine.pairs
    record = pack_record(Kind.CHANGED, flow(7))
    for _ in range(6000):
        payload = encode_data(pair.replica.stream, pair.replica.received + 1, record * 8)
        world.gw2.machine.handle(world.now, Received(1, PATHS[0], payload))
    most = pair.replica.waiting
    assert QUEUE_MAX < most <= 2 * QUEUE_MAX + 8
    assert pair.replica.credit == 0
    before = pair.replica.received
    for write in list(pair.replica._outstanding):
        world.gw2.machine.handle(world.now, Written(write))
    payload = encode_data(pair.replica.stream, before + 1, record)
    world.gw2.machine.handle(world.now, Received(1, PATHS[0], payload))
    assert pair.replica.received == before + 1


def ask(world: World, number: int) -> list[Effect]:
    """gw2, or who speaks in its name, asks gw1 to compare."""
    (pair,) = world.gw1.machine.pairs
    request = Compare(pair.replica.stream, number, 2, Scope.REPLICATE)
    return world.gw1.machine.handle(world.now, Received(2, PATHS[0], encode_compare(request)))


def test_rounds_without_end_list_nothing_without_end() -> None:
    """Five hundred at once are one; the next, some time later, ends the listing of the one before."""
    world = standing()
    world.run(SECOND)
    (listing,) = [each for number in range(500) for each in ask(world, 1000 + number) if isinstance(each, List)]
    world.now = type(world.now)(world.now + ANSWER_EVERY)
    effects = [each for each in ask(world, 2000) if isinstance(each, List | Cancel)]
    assert [type(each) for each in effects] == [Cancel, List]
    assert effects[0] == Cancel(listing.number)


def test_no_number_of_a_round_keeps_later_ones_out() -> None:
    """The greatest one is followed by small ones; a copy of one that was answered is none."""
    world = standing()
    for number, answered in ((2**32 - 1, True), (77, True), (2**32 - 1, False), (77, False), (78, True)):
        world.now = type(world.now)(world.now + ANSWER_EVERY)
        assert any(isinstance(each, List) for each in ask(world, number)) == answered, number


def test_a_round_remembers_only_so_many_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that tells flows without end ends its round, and the replica is not believed to be complete."""
    monkeypatch.setattr(round_, "FLOWS_MAX", 100)
    world = World(4)
    world.populate(world.gw1, 300)
    world.boot()
    world.run(3 * SECOND)
    (pair,) = world.gw2.machine.pairs
    assert world.gw2.complete.get(EDGE) is not True
    assert "than a round can remember" in pair.agenda.proofs[1].detail
    assert pair.agenda.round is None or len(pair.agenda.round._snapshot) <= 101


def test_it_is_told_who_else_was_the_original() -> None:
    """Once when the peer's beacon says so; no more when this node is, and again when the peer is once more."""
    world = standing()
    told = [effect.elsewhere for effect in world.gw2.effects(Elsewhere)]
    assert (told, world.gw1.effects(Elsewhere)) == ([True], [])
    world.gw1.own(False)
    world.gw2.own(True)
    world.run(SECOND)
    assert [effect.elsewhere for effect in world.gw2.effects(Elsewhere)] == [True, False]
    assert [effect.elsewhere for effect in world.gw1.effects(Elsewhere)] == [True]
    world.gw2.own(False)
    world.run(SECOND)
    assert [effect.elsewhere for effect in world.gw2.effects(Elsewhere)] == [True, False]
