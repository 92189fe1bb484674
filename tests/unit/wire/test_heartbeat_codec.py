"""What a heartbeat carries, and what is refused."""

import pytest

from understudy.errors import DecodeError
from understudy.wire.heartbeat import (
    Body,
    GroupState,
    Hears,
    LanState,
    Lease,
    Phase,
    Reach,
    Role,
    Sync,
    decode,
    encode,
    encode_body,
)

BODY = Body(
    bytes(16), True, False, tuple(LanState(number, Reach.REACHED, (), word) for number, word in enumerate(Hears)), ()
)


def test_whether_the_peer_is_heard_is_carried() -> None:
    """Every word of it, for each LAN its own."""
    assert decode(encode(1, 2, 3, encode_body(BODY))).body == BODY


def test_a_word_that_does_not_exist_is_refused() -> None:
    """Nothing is guessed."""
    payload = bytearray(encode(1, 2, 3, encode_body(BODY)))
    payload[14 + 19 + 2] = len(Hears)
    with pytest.raises(DecodeError, match="heartbeat-malformed"):
        decode(bytes(payload))


@pytest.mark.parametrize("sync", Sync)
@pytest.mark.parametrize("urgent", [False, True])
def test_whether_the_flows_are_complete_is_carried(sync: Sync, urgent: bool) -> None:
    """And whether an offer can wait for it."""
    group = GroupState(1, Role.ACTIVE, Phase.OFFERING, 2, Lease.SHORT, 7, 284_000_000, 3, sync, urgent)
    body = Body(bytes(16), True, False, (), (group,))
    assert decode(encode(1, 2, 3, encode_body(body))).body == body


@pytest.mark.parametrize("at", [-1, -2], ids=["urgent", "sync"])
def test_a_group_with_a_value_that_does_not_exist_is_refused(at: int) -> None:
    """A third kind of urgency is as little guessed as a fourth state of the flows."""
    body = Body(bytes(16), True, False, (), (GroupState(1, Role.ACTIVE, Phase.NONE, 0, Lease.SHORT, 0, 0, 0),))
    payload = bytearray(encode(1, 2, 3, encode_body(body)))
    payload[at] = 9
    with pytest.raises(DecodeError, match="heartbeat-malformed"):
        decode(bytes(payload))


@pytest.mark.parametrize("version", [1, 2])
def test_the_versions_before_are_refused_by_their_number(version: int) -> None:
    """They say less of each LAN and group; the two nodes are updated together."""
    with pytest.raises(DecodeError, match="heartbeat-version"):
        decode(bytes([version]) + encode(1, 2, 3, encode_body(BODY))[1:])
