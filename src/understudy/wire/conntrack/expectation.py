"""Expectations: the flows that a helper has read about in another flow (FTP's data connection), before they come.

They are few, so every one is walked. They live as long as the helper says; the kernel that takes one must have the
master and its helper already.
"""

from typing import Final

from understudy.errors import DecodeError
from understudy.wire.conntrack.attributes import (
    CTA_TUPLE_ORIG,
    CTA_ZONE,
    EXPECTATION,
    HEADER,
    NLA_F_NESTED,
    Found,
    attribute,
    known,
    walk,
)
from understudy.wire.conntrack.shape import check_tuple

_CARRIED: Final = ("master", "tuple", "mask", "helper", "zone", "flags", "class", "nat", "function")


def expectation(raw: bytes) -> bytes:
    """Who it is: its tuple, its mask and its zone. Raises DecodeError, as all here."""
    return b"".join(_parts(raw, _checked(raw), ("tuple", "mask", "zone")))


def master_request(raw: bytes) -> bytes:
    """Ask for the flow in which it was announced."""
    found = _checked(raw)
    begin, end = found.values["master"]
    zone = raw[slice(*found.values["zone"])] if "zone" in found.values else b""
    return (
        raw[:HEADER]
        + attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, raw[begin:end])
        + (attribute(CTA_ZONE, zone) if zone else b"")
    )


def portable_expectation(raw: bytes) -> bytes:
    """Without identifier and remaining time: what is sent, and with flag CREATE what makes it in the other kernel."""
    found = _checked(raw)
    if found.strange:
        raw = known(raw, EXPECTATION)
        found = _checked(raw)
    return raw[:HEADER] + b"".join(_parts(raw, found, _CARRIED))


expect_create_request = portable_expectation


def expect_delete_request(raw: bytes) -> bytes:
    """End the expectation of this tuple. There is always one in it: a deletion without would be of all."""
    return raw[:HEADER] + b"".join(_parts(raw, _checked(raw), ("tuple", "zone")))


def _checked(raw: bytes) -> Found:
    found = walk(raw, EXPECTATION)
    for each in ("master", "tuple", "mask"):
        if each not in found.attributes:
            raise DecodeError("expectation", each)
        check_tuple(raw, found, each)
    if "nat" in found.attributes:
        check_tuple(raw, found, "nat/tuple")
    return found


def _parts(raw: bytes, found: Found, names: tuple[str, ...]) -> list[bytes]:
    spans = (found.attributes[each] for each in names if each in found.attributes)
    return [raw[begin:end] for begin, end in spans]
