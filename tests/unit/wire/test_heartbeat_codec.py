"""What a heartbeat carries, and what is refused."""

import pytest

from understudy.errors import DecodeError
from understudy.wire.heartbeat import Body, Hears, LanState, Reach, decode, encode, encode_body

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


def test_the_version_before_is_refused_by_its_number() -> None:
    """It says less of each LAN; the two nodes are updated together."""
    with pytest.raises(DecodeError, match="heartbeat-version"):
        decode(b"\x01" + encode(1, 2, 3, encode_body(BODY))[1:])
