"""Our routing rules, and the place of the kernel's own rule for the local table (`render.rules` says why).

Ours carry a protocol number of their own, so that they are known again after a restart, whichever file they were made
from. At every moment one rule or another looks the local table up: the new one is added before the old one goes.
"""

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address

from understudy.adapters.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    RouteSocket,
    attribute,
    attributes,
)
from understudy.render.model import RoutingRule
from understudy.units import Address, Family

OURS = 117
"""FRA_PROTOCOL of our rules: `ip rule` shows it as `proto 117`. Not taken in iproute2's rt_protos.

Also IFA_PROTO of our addresses on ports (`adapters.links`), where the kernel itself uses 1 to 3."""
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FRA_DST, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK = 1, 3, 4, 6, 10, 16
FRA_TABLE, FRA_PROTOCOL, FRA_IP_PROTO, FRA_DPORT_RANGE = 15, 21, 22, 24
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_BLACKHOLE = 1, 2, 6
RT_TABLE_LOCAL = 255
RTPROT_KERNEL = 2

_ACTIONS = {"local": FR_ACT_TO_TBL, "lookup": FR_ACT_TO_TBL, "goto": FR_ACT_GOTO, "blackhole": FR_ACT_BLACKHOLE}
_RULE = struct.Struct("=BBBBBBBBI")
_FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class HeldRule:
    """A rule that the kernel holds. `rule` says no more than ours can mean; `plain` is false if it has other
    selectors.
    """

    rule: RoutingRule
    protocol: int
    plain: bool

    @property
    def looks_up_local(self) -> bool:
        return self.plain and self.rule == RoutingRule(self.rule.family, self.rule.preference, "local")


class Rules:
    """The rules of one network namespace."""

    def __init__(self, route: RouteSocket) -> None:
        self._route = route

    def apply(self, rules: Sequence[RoutingRule]) -> None:
        """Make the kernel hold exactly these rules of ours. Raises EnvironmentFailure."""
        held = self.held()
        ours = [each.rule for each in held if each.protocol == OURS]
        for rule in rules:
            if rule not in ours:
                self._add(rule, OURS)
        for family in _FAMILIES:
            locals_ = [each for each in held if each.rule.family == family and each.looks_up_local]
            wanted = any(rule.family == family and rule.action == "local" for rule in rules)
            if not wanted and locals_ and all(each.protocol == OURS for each in locals_):
                self._add(RoutingRule(family, 0, "local"), RTPROT_KERNEL)
            for each in locals_:
                if wanted and each.rule.preference == 0:
                    self._delete(each.rule)
        # The target of a `goto` goes last.
        for rule in sorted(set(ours).difference(rules), key=lambda rule: rule.action == "local"):
            self._delete(rule)

    def remove(self) -> None:
        """Take ours away; the kernel's rule is back at its place before that."""
        self.apply(())

    def held(self) -> list[HeldRule]:
        """Every rule of both families, in the order in which the kernel walks them."""
        return [
            _parse(family, payload)
            for family in _FAMILIES
            for payload in self._route.dump(RTM_GETRULE, _RULE.pack(_af(family), 0, 0, 0, 0, 0, 0, 0, 0))
        ]

    def _add(self, rule: RoutingRule, protocol: int) -> None:
        self._change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule, protocol, "add rule", errno.EEXIST)

    def _delete(self, rule: RoutingRule) -> None:
        self._change(RTM_DELRULE, 0, rule, None, "delete rule", errno.ENOENT)

    def _change(
        self, kind: int, flags: int, rule: RoutingRule, protocol: int | None, operation: str, fine: int
    ) -> None:
        subject = f"-{rule.family} {' '.join(rule.arguments)}"
        request = Request(kind, flags, _payload(rule, protocol), operation, subject)
        self._route.commit([request], tolerate=(fine,))


def _payload(rule: RoutingRule, protocol: int | None) -> bytes:
    table = RT_TABLE_LOCAL if rule.action == "local" else rule.target if rule.action == "lookup" else 0
    length, packed = _destination(rule)
    # Tables beyond a byte stand in the attribute alone.
    small = table if table is not None and table < 256 else 0
    payload = _RULE.pack(_af(rule.family), length, 0, 0, small, 0, 0, _ACTIONS[rule.action], 0)
    payload += attribute(FRA_PRIORITY, struct.pack("=I", rule.preference))
    if table:
        payload += attribute(FRA_TABLE, struct.pack("=I", table))
    if rule.destination is not None:
        payload += attribute(FRA_DST, packed)
    if rule.protocol is not None:
        payload += attribute(FRA_IP_PROTO, bytes([socket.IPPROTO_TCP]))
    if rule.ports is not None:
        payload += attribute(FRA_DPORT_RANGE, struct.pack("=HH", *rule.ports))
    if rule.incoming is not None:
        payload += attribute(FRA_IIFNAME, rule.incoming.encode() + b"\0")
    if rule.target is not None and rule.action == "goto":
        payload += attribute(FRA_GOTO, struct.pack("=I", rule.target))
    if rule.mark is not None:
        payload += attribute(FRA_FWMARK, struct.pack("=I", rule.mark[0]))
        payload += attribute(FRA_FWMASK, struct.pack("=I", rule.mark[1]))
    if protocol is not None:
        payload += attribute(FRA_PROTOCOL, bytes([protocol]))
    return payload


def _destination(rule: RoutingRule) -> tuple[int, bytes]:
    """Length of the prefix, and its bytes."""
    match rule.destination:
        case None:
            return 0, b""
        case IPv4Network() as net:
            return net.prefixlen, net.network_address.packed
        case address:
            return address.max_prefixlen, address.packed


_KNOWN = {
    FRA_DST, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK, FRA_TABLE, FRA_PROTOCOL, FRA_IP_PROTO,
    FRA_DPORT_RANGE,
}  # fmt: skip
_ALWAYS_THERE = {14, 29}
"""FRA_SUPPRESS_PREFIXLEN (none) and, from Linux 6.15 on, the mask of the ports."""


def _parse(family: Family, payload: bytes) -> HeldRule:
    _, length, source_length, _, _, _, _, action, _ = _RULE.unpack_from(payload)
    details = attributes(payload, _RULE.size)
    table, preference, target = (
        struct.unpack("=I", details.get(kind, bytes(4)))[0] for kind in (FRA_TABLE, FRA_PRIORITY, FRA_GOTO)
    )
    mark = struct.unpack("=I", details[FRA_FWMARK])[0] if FRA_FWMARK in details else None
    looked_up = "local" if table == RT_TABLE_LOCAL else "lookup"
    said = {FR_ACT_TO_TBL: looked_up, FR_ACT_GOTO: "goto"}.get(action, "blackhole")
    known = action in _ACTIONS.values()
    ports = details.get(FRA_DPORT_RANGE)
    incoming = details.get(FRA_IIFNAME)
    rule = RoutingRule(
        family,
        preference,
        said,  # type: ignore[arg-type] # one of its words
        destination=_prefix(details[FRA_DST], length) if FRA_DST in details else None,
        protocol="tcp" if details.get(FRA_IP_PROTO) == bytes([socket.IPPROTO_TCP]) else None,
        ports=struct.unpack("=HH", ports) if ports else None,
        incoming=incoming.rstrip(b"\0").decode(errors="replace") if incoming else None,
        target=target if action == FR_ACT_GOTO else table if said == "lookup" else None,
        mark=(mark, struct.unpack("=I", details[FRA_FWMASK])[0])
        if mark is not None and FRA_FWMASK in details
        else None,
    )
    plain = known and not source_length and not set(details) - _KNOWN - _ALWAYS_THERE
    return HeldRule(rule, details.get(FRA_PROTOCOL, b"\0")[0], plain)


def _prefix(packed: bytes, length: int) -> Address | IPv4Network:
    address = ip_address(packed)
    whole = length == address.max_prefixlen or not isinstance(address, IPv4Address)
    return address if whole else IPv4Network((packed, length), strict=False)


def _af(family: Family) -> int:
    return socket.AF_INET if family == 4 else socket.AF_INET6
