"""Connection tracking entries as the kernel's own messages (ctnetlink): read little of, written again safely.

    attributes      numbers, tables of what is valid, and the strict walk
    shape           messages that differ in values only, recognised at once: the hot path
    entry           whose it is, who it is, what travels, what two kernels must agree on
    requests        create, update and delete it in the other kernel
    expectation     the same for expectations (`CTA_EXPECT_*`), which are few
    flow            an entry as a value, for people and tests

A `raw` is `nfgenmsg` and attributes, without the netlink header. It may come from the network: hostile bytes raise
DecodeError and nothing else, and nothing reaches a kernel that the tables do not know.
"""

from understudy.wire.conntrack.entry import (
    BUCKETS,
    assured,
    bucket_and_digest,
    bucket_of,
    half_open,
    identity,
    mark_of,
    original,
    portable,
    protocol_of,
    remains,
    sctp_state,
    summary,
    tcp_state,
    timeout_of,
    whose,
)
from understudy.wire.conntrack.expectation import (
    expect_create_request,
    expect_delete_request,
    expectation,
    master_request,
    portable_expectation,
)
from understudy.wire.conntrack.flow import Flow, Sequence, Tcp, Tuple, build, decode, describe
from understudy.wire.conntrack.requests import (
    HALF_OPEN_S,
    HOLD_S,
    UNTOUCHED_S,
    create_request,
    delete_request,
    update_request,
)

__all__ = [
    "BUCKETS",
    "HALF_OPEN_S",
    "HOLD_S",
    "UNTOUCHED_S",
    "Flow",
    "Sequence",
    "Tcp",
    "Tuple",
    "assured",
    "bucket_and_digest",
    "bucket_of",
    "build",
    "create_request",
    "decode",
    "delete_request",
    "describe",
    "expect_create_request",
    "expect_delete_request",
    "expectation",
    "half_open",
    "identity",
    "mark_of",
    "master_request",
    "original",
    "portable",
    "portable_expectation",
    "protocol_of",
    "remains",
    "sctp_state",
    "summary",
    "tcp_state",
    "timeout_of",
    "update_request",
    "whose",
]
