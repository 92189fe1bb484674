"""The codec of flow replication: what is said is read again, and nothing else is read."""

import random

import pytest

from understudy.errors import DecodeError
from understudy.wire import flowsync
from understudy.wire.flowsync import (
    BUCKETS,
    PAYLOAD_MAX,
    VERSION,
    WINDOW,
    Ack,
    Beacon,
    Compare,
    Data,
    Flush,
    Flushed,
    Scope,
    Want,
    Word,
    decode,
)

STREAM = 77
MESSAGES = [
    (
        flowsync.encode_data(STREAM, 5, flowsync.pack_record(1, b"abc") + flowsync.pack_record(Word.LOST, b"")),
        Data(STREAM, 5, [(1, b"abc"), (16, b"")]),
    ),
    (flowsync.encode_beacon(Beacon(STREAM, 9, 3, 2, 4, 1500)), Beacon(STREAM, 9, 3, 2, 4, 1500)),
    (flowsync.encode_ack(Ack(STREAM, 8, 7, 6, 5, 4, 3, b"\x05")), Ack(STREAM, 8, 7, 6, 5, 4, 3, b"\x05")),
    (flowsync.encode_compare(Compare(STREAM, 2, 6, Scope.COPY)), Compare(STREAM, 2, 6, Scope.COPY)),
    (flowsync.encode_flush(Flush(STREAM, 11)), Flush(STREAM, 11)),
    (flowsync.encode_flushed(Flushed(STREAM, 11, 12)), Flushed(STREAM, 11, 12)),
]


@pytest.mark.parametrize(("payload", "message"), MESSAGES)
def test_what_is_written_is_read_again(payload: bytes, message: object) -> None:
    """Every message survives the way there and back."""
    assert decode(payload) == message


@pytest.mark.parametrize(("payload", "_"), MESSAGES)
def test_no_part_of_a_message_is_a_message(payload: bytes, _: object) -> None:
    """Cut anywhere but between two records, it is refused."""
    whole_records = {len(payload), flowsync.DATA_HEAD, flowsync.DATA_HEAD + 6} if payload[1] == 1 else {len(payload)}
    for end in set(range(len(payload))) - whole_records:
        with pytest.raises(DecodeError):
            decode(payload[:end])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "flowsync-truncated"),
        (bytes([VERSION - 1]) + MESSAGES[0][0][1:], "flowsync-version"),
        (bytes([VERSION + 1]) + MESSAGES[0][0][1:], "flowsync-version"),
        (bytes([VERSION, 99]) + MESSAGES[0][0][2:], "flowsync-kind"),
        (MESSAGES[0][0] + bytes(PAYLOAD_MAX), "flowsync-length"),
        (MESSAGES[1][0] + b"\0", "flowsync-length"),
        (bytes([VERSION, 1]) + bytes(8) + MESSAGES[0][0][10:], "flowsync-stream"),
        (flowsync.encode_data(STREAM, 0, b""), "flowsync-sequence"),
        (flowsync.encode_data(STREAM, 1, flowsync.pack_record(99, b"")), "flowsync-record"),
        (flowsync.encode_data(STREAM, 1, b"\x01\xff\xffabc"), "flowsync-truncated"),
        (flowsync.encode_beacon(Beacon(STREAM, 3, 5, 0, 1, 0)), "flowsync-floor"),
        (flowsync.encode_beacon(Beacon(STREAM, 3, 0, 0, 1, 0)), "flowsync-floor"),
        (flowsync.encode_ack(Ack(STREAM, 8, 6, 7, 5, 4, 3)), "flowsync-ack"),
        (flowsync.encode_ack(Ack(STREAM, 8, 7, 6, WINDOW + 1, 4, 3)), "flowsync-ack"),
        (flowsync.encode_ack(Ack(STREAM, 8, 7, 6, 5, 4, 3, bytes(WINDOW // 8 + 1))), "flowsync-length"),
        (MESSAGES[3][0][:-1] + b"\x09", "flowsync-scope"),
        (flowsync.encode_wants(STREAM, 1, [])[0][:-1], "flowsync-want"),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    """Each bound has a stable word."""
    with pytest.raises(DecodeError) as caught:
        decode(payload)
    assert caught.value.reason == reason


def test_random_bytes_raise_nothing_but_decode_errors() -> None:
    """20 000 random and garbled payloads, and every reader of a record's content."""
    dice = random.Random(4)
    readers = [flowsync.read_digests, flowsync.read_snapshot, flowsync.read_end, flowsync.read_count]
    readers += [flowsync.read_lost, flowsync.read_anew]
    for _ in range(20_000):
        payload = bytearray(dice.choice(MESSAGES)[0])
        for _ in range(dice.randrange(1, 6)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        garbled = bytes(payload) if dice.random() < 0.7 else bytes([VERSION]) + dice.randbytes(dice.randrange(60))
        for read in [decode, dice.choice(readers)]:
            try:
                read(garbled)
            except DecodeError:
                pass


def test_wishes_name_exactly_their_buckets() -> None:
    """Through two messages within the bound, in either order of arrival."""
    buckets = random.Random(1).sample(range(BUCKETS), 500)
    messages = [decode(payload) for payload in flowsync.encode_wants(STREAM, 3, buckets)]
    halves = [message.bitmap for message in messages if isinstance(message, Want)]
    wanted = flowsync.read_wants(halves)
    assert [bucket for bucket, wish in enumerate(wanted) if wish] == sorted(buckets)
    assert all(len(payload) <= PAYLOAD_MAX for payload in flowsync.encode_wants(STREAM, 3, range(BUCKETS)))


def test_digests_are_read_where_they_belong_and_empty_stretches_are_left_out() -> None:
    """The contents of a sparse table are few and put it together again."""
    digests = [0] * BUCKETS
    digests[5], digests[16_000] = 2**64 - 1, 7
    contents = list(flowsync.digests_contents(9, digests))
    assert len(contents) == 2
    again = [0] * BUCKETS
    for content in contents:
        assert len(content) <= flowsync.RECORD_MAX
        number, first, part = flowsync.read_digests(content)
        assert number == 9
        again[first : first + len(part)] = part
    assert again == digests


def test_digests_beyond_the_last_bucket_are_refused() -> None:
    content = next(flowsync.digests_contents(9, [1] * 128))
    with pytest.raises(DecodeError):
        flowsync.read_digests(content[:4] + (BUCKETS - 1).to_bytes(2, "big") + content[6:])


@pytest.mark.parametrize("beyond", [[], [12], [12, 14, 100], [11 + WINDOW], list(range(12, 12 + 900))])
def test_what_lies_beyond_the_first_missing_is_told_exactly(beyond: list[int]) -> None:
    """Ten are received, 11 is missing, some later ones have arrived."""
    ack = Ack(STREAM, 1, 10, 10, 1, 0, 0, flowsync.beyond_bitmap(10, beyond))
    read = decode(flowsync.encode_ack(ack))
    assert isinstance(read, Ack)
    assert flowsync.beyond_sequences(read) == beyond


def test_a_full_payload_is_filled_with_zeros_and_nothing_else() -> None:
    """Any number of them, also fewer than a record's head; behind them there is nothing."""
    record = flowsync.pack_record(1, b"abc")
    for filling in range(8):
        payload = flowsync.encode_data(STREAM, 5, record + bytes(filling))
        assert decode(payload) == Data(STREAM, 5, [(1, b"abc")])
    for behind in (b"\0\1", b"\0" + record, bytes(5) + b"\7"):
        with pytest.raises(DecodeError):
            decode(flowsync.encode_data(STREAM, 5, record + behind))


def test_a_comparison_says_what_it_is_for() -> None:
    """Of an empty kernel, or urgent; flags of another version are refused."""
    for empty in (False, True):
        for urgent in (False, True):
            compare = Compare(STREAM, 2, 6, Scope.REPLICATE, empty, urgent)
            assert decode(flowsync.encode_compare(compare)) == compare
    with pytest.raises(DecodeError):
        decode(flowsync.encode_compare(Compare(STREAM, 2, 6, Scope.COPY))[:-1] + b"\4")
