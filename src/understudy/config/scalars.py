"""Single values of the file: text in, a value of the right kind out, or a refusal with code, sentence and hint.

YAML's own reading of a scalar is never asked: a port is digits, `true` is true and nothing else is.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic_core import PydanticCustomError

from understudy.config.problems import quoted
from understudy.units import SECOND, Address, Duration, Prefix, format_duration, parse_duration

NAME = r"[a-z][a-z0-9-]{0,31}"
_NAME = re.compile(NAME, re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,10}", re.ASCII)
_PATH = re.compile(r"/[\x21-\x7e]{0,254}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}", re.ASCII)
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`203.0.113.10:80` or `[2001:db8::10]:80`."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerReference:
    """`web1:8080`, or an endpoint."""

    node: str | None
    address: Address | None
    """Of a server that is not a node of the file."""
    port: int

    def __str__(self) -> str:
        return f"{self.node}:{self.port}" if self.address is None else str(Endpoint(self.address, self.port))


def refuse(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """What a validator raises: pydantic adds the place, `validate` makes it a Problem."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def text_of(value: object, wanted: str) -> str:
    """The text of a scalar. `wanted` says what belongs here, such as `an address`."""
    if isinstance(value, str):
        return value
    if value is None:
        raise refuse("E2107", f"has no value, expected {wanted}")
    raise refuse("E2103", f"is a {'list' if isinstance(value, list) else 'mapping'}, expected {wanted}")


def parse_name(value: object) -> str:
    text = text_of(value, "a name")
    if text in _RESERVED:
        raise refuse("E2122", f"{quoted(text)} is a word that YAML readers take for a value", "choose another name")
    if not _NAME.fullmatch(text):
        hint = "a small letter, then up to 31 small letters, digits and hyphens"
        raise refuse("E2108", f"{quoted(text)} is not a name", hint)
    return text


def parse_boolean(value: object) -> bool:
    text = text_of(value, "true or false")
    if text not in ("true", "false"):
        raise refuse("E2106", f"{quoted(text)} is neither true nor false")
    return text == "true"


def parse_integer(value: object, low: int, high: int, hint: str = "") -> int:
    text = text_of(value, "a whole number")
    if not _INTEGER.fullmatch(text):
        raise refuse("E2105", f"{quoted(text)} is not a whole number", f"{low} to {high}, in plain digits")
    if not low <= int(text) <= high:
        raise refuse("E2104", f"{int(text)} is not between {low} and {high}", hint)
    return int(text)


def parse_port(value: object) -> int:
    return parse_integer(value, 1, 65535)


def parse_span(value: object, low: Duration, high: Duration, step: Duration = 1) -> Duration:
    """A duration within limits and on a step."""
    text = text_of(value, "a duration")
    try:
        duration = parse_duration(text)
    except ValueError:
        raise refuse("E2112", f"{quoted(text)} is not a duration", "a number and its unit: 100ms, 1s, 2h") from None
    check_span(duration, low, high, step, text)
    return duration


def check_span(duration: Duration, low: Duration, high: Duration, step: Duration = 1, shown: str = "") -> None:
    """Refuse a duration outside its limits or between two steps."""
    shown = shown or format_duration(duration)
    if not low <= duration <= high:
        raise refuse("E2113", f"{shown} is not between {_spell(low)} and {_spell(high)}")
    if duration % step:
        below = duration // step * step
        near = " or ".join(format_duration(d) for d in (below, below + step) if d >= low)
        raise refuse("E2113", f"{shown} is not a multiple of {format_duration(step)}", near)


def _spell(limit: Duration) -> str:
    for scale, unit in ((86400 * SECOND, "d"), (3600 * SECOND, "h")):
        if limit % scale == 0:
            return f"{limit // scale}{unit}"
    return format_duration(limit)


def parse_address(value: object) -> Address:
    text = text_of(value, "an IP address")
    if "/" in text:
        raise refuse("E2109", f"{quoted(text)} is a prefix, not an address", "the length comes from the network")
    if "%" in text:
        raise refuse("E2109", f"{quoted(text)} has a zone", "the interface is found by the network")
    try:
        address = ip_address(text)
    except ValueError:
        raise refuse("E2109", f"{quoted(text)} is not an IP address") from None
    return _ownable(address)


def _ownable(address: Address) -> Address:
    kind = ""
    if address.is_multicast:
        kind = "a multicast"
    elif address.is_loopback:
        kind = "a loopback"
    elif address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        kind = "the unspecified"
    elif address == _BROADCAST:
        kind = "the broadcast"
    elif isinstance(address, IPv6Address) and address.is_link_local:
        kind = "a link-local"
    elif isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        kind = "an IPv4-mapped"
    if kind:
        raise refuse("E2124", f"{address} is {kind} address", "an address that one node owns on its network")
    return address


def parse_prefix(value: object) -> Prefix:
    text = text_of(value, "a prefix")
    address, slash, length = text.partition("/")
    if not slash or not _INTEGER.fullmatch(length):
        raise refuse("E2110", f"{quoted(text)} is not a prefix", "an address and a length, as in 10.0.0.0/24")
    try:
        prefix = ip_network(text, strict=False)
    except ValueError:
        raise refuse("E2110", f"{quoted(text)} is not a prefix", "an address and a length, as in 10.0.0.0/24") from None
    if str(prefix.network_address) != str(ip_address(address)):
        raise refuse("E2111", f"{text} has bits set behind its length", f"the network is {prefix}")
    try:
        _ownable(prefix.network_address)
    except PydanticCustomError:
        raise refuse("E2124", f"{prefix} is no range whose addresses nodes can own") from None
    return prefix


def parse_endpoint(value: object) -> Endpoint:
    text = text_of(value, "an address and a port")
    host, port = _split_port(text, "E2114", "an address and a port", "203.0.113.10:80 or '[2001:db8::10]:80'")
    return Endpoint(parse_address(host), parse_port(port))


def parse_server(value: object) -> ServerReference:
    text = text_of(value, "a server and its port")
    host, port = _split_port(text, "E2115", "a server and its port", "web1:8080, 10.0.0.1:80 or '[2001:db8::1]:80'")
    if _NAME.fullmatch(host):
        return ServerReference(host, None, parse_port(port))
    return ServerReference(None, parse_address(host), parse_port(port))


def _split_port(text: str, code: str, wanted: str, example: str) -> tuple[str, str]:
    """`host:port` or `[v6]:port`; an IPv6 address without brackets is refused, its last group could be the port."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not _INTEGER.fullmatch(port) or (":" in host and not bracketed):
        hint = f"an IPv6 address stands in brackets: {example}" if text.count(":") > 1 else f"as in {example}"
        raise refuse(code, f"{quoted(text)} is not {wanted}", hint)
    return (host[1:-1] if bracketed else host), port


def parse_http_path(value: object) -> str:
    text = text_of(value, "a path")
    if not _PATH.fullmatch(text):
        raise refuse("E2117", f"{quoted(text)} is not a path", "begins with /, no spaces, at most 255 characters")
    return text


def parse_interface(value: object) -> str:
    text = text_of(value, "the name of an interface")
    if not _INTERFACE.fullmatch(text) or text in (".", ".."):
        raise refuse("E2123", f"{quoted(text)} is no name of an interface", "at most 15 characters, as in `ip link`")
    return text
