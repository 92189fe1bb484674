"""The table of command forms: what may be said about NAT, and what else is read because NAT needs it.

One table reads and writes. The order of options here is the canonical one; `~` marks another spelling of an option.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from understudy.ios.grammar import Form, Grammar
from understudy.ios.model import (
    Directive,
    Dynamic,
    Entry,
    MaxEntries,
    Pool,
    PortTimeout,
    Role,
    Segment,
    Side,
    Static,
    Timeout,
)

TIMEOUTS = (
    "timeout", "tcp-timeout", "udp-timeout", "dns-timeout", "icmp-timeout", "syn-timeout", "finrst-timeout",
    "pptp-timeout", "routemap-entry-timeout", "arp-ping-timeout",
)  # fmt: skip


class Partly(dict[str, Any]):
    """What a `no` names that says less than the whole command."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)


class Context(Partly):
    """A line beside NAT that NAT needs, such as an interface's address. `what` says which."""


def make_role(*, role: Role) -> Role:
    """A role that the current interface gets."""
    return role


def make_segment(*, first: IPv4Address, last: IPv4Address) -> Segment:
    """A line of a pool's block."""
    return Segment(first, last)


def make_pool(*, name: str, first: IPv4Address | None = None, last: IPv4Address | None = None, **rest: Any) -> Pool:
    """A pool from its one line: with its addresses, or with a block of them to follow."""
    segments = (Segment(first, last),) if first is not None and last is not None else ()
    return Pool(name=name, segments=segments, **{"length": 0, **rest})


_VRF = ("vrf <vrf:name>", "match-in-vrf")
_REDUNDANCY = ("redundancy <redundancy:name>", "mapping-id <mapping_id:id>")
_STATIC_OPTIONS = (
    *_VRF, "route-map <route_map:name>", "reversible", *_REDUNDANCY, "extendable", "no-alias", "no-payload",
    "stateless", "egress-interface <egress_interface:interface>",
)  # fmt: skip
_DYNAMIC_OPTIONS = (
    *_REDUNDANCY, *_VRF, "oer", "overload", "extended", "egress-interface <egress_interface:interface>", "pap",
    "reversible",
)  # fmt: skip
_NEEDS = {"match_in_vrf": "vrf", "reversible": "route_map", "extended": "overload", "pap": "overload"}


def _statics(head: str, side: Side, options: Sequence[str]) -> list[Form]:
    """Host, network, port and interface. Outside says the global address first, all others the local one."""
    one, two = ("global", "local") if side is Side.OUTSIDE else ("local", "global")
    first, second = (f"<{which}:address>".replace("global", "global_") for which in (one, two))
    targets: list[tuple[str, dict[str, Any]]] = [
        (f"{first} {second}", {}),
        (f"network {first} {second} <length:network-length>", {}),
    ]
    for protocol in ("tcp", "udp"):
        port = f"{protocol} {first} <{one}_port:port>"
        targets.append((f"{port} {second} <{two}_port:port>", {"protocol": protocol}))
        if side is not Side.OUTSIDE:
            targets.append((f"{port} interface <interface:interface> <{two}_port:port>", {"protocol": protocol}))
    if side is not Side.OUTSIDE:
        targets.append((f"{first} interface <interface:interface>", {}))
        targets.append((f"esp {first} interface <interface:interface>", {"protocol": "esp"}))
    return [
        Form(f"{head} source static {target}", Static, tuple(options), {"side": side, **said}, _NEEDS)
        for target, said in targets
    ]


def _dynamics(head: str, side: Side, targets: Sequence[str], options: Sequence[str]) -> list[Form]:
    forms = []
    for which in ("list <access_list:list>", "route-map <route_map:name>"):
        if side is Side.DESTINATION and which[0] == "r":
            continue
        forms += [
            Form(f"{head} {which} {target}", Dynamic, tuple(options), {"side": side}, _NEEDS) for target in targets
        ]
        forms.append(Form(f"{head} {which}", Partly, (), {"side": side}, only_no=True))
    return forms


def _pools(head: str, *, nvi: bool) -> list[Form]:
    fixed: dict[str, Any] = {"nvi": True} if nvi else {}
    more = ("type <kind:pool-kind>", "add-route", "accounting <accounting:name>", "arp-ping")
    whole = ("netmask <length:mask>", "prefix-length <length:length>", *more)
    pool = f"{head} pool <name:name>"
    return [
        Form(f"{pool} <first:address> <last:address>", make_pool, whole, fixed),
        Form(f"{pool} netmask <length:mask>", make_pool, more, fixed),
        Form(f"{pool} prefix-length <length:length>", make_pool, more, fixed),
        Form(pool, Partly, (), {"pool": True}, only_no=True),
    ]


def _translation() -> list[Form]:
    head = "ip nat translation"
    forms = []
    for which in TIMEOUTS:
        forms.append(Form(f"{head} {which} <seconds:seconds>", Timeout, (), {"which": which}))
        forms.append(Form(f"{head} {which}", Partly, (), {"which": which}, only_no=True))
    for protocol in ("tcp", "udp"):
        one = f"{head} port-timeout {protocol} <port:port>"
        forms.append(Form(f"{one} <seconds:seconds>", PortTimeout, (), {"protocol": protocol}))
        forms.append(Form(one, Partly, (), {"protocol": protocol}, only_no=True))
    for scope, of in (("", ""), ("all-host", ""), ("all-vrf", ""), ("host", "<of:address-text>"), ("vrf", "<of:name>"),
                      ("list", "<of:list>"), ("redundancy", "<of:name>")):  # fmt: skip
        short = " ".join(filter(None, (head, "max-entries", scope, of)))
        forms.append(Form(f"{short} <count:number>", MaxEntries, (), {"scope": scope}))
        forms.append(Form(short, Partly, (), {"scope": scope}, only_no=True))
    return forms


SERVICES = (
    "h225", "h323", "all-algs", "dns", "dns tcp", "dns udp", "dns-reset-ttl", "dns-v6", "ftp", "gatekeeper",
    "ipsec-esp enable", "ldap", "list <a:list> esp spi-match", "list <a:list> ike preserve-port",
    "list <a:list> ftp tcp port <b:port>", "fullrange tcp port <b:port>", "fullrange udp port <b:port>",
    "modify-in-progress drop", "msrpc", "msrpc tcp", "multi-wan-link", "netbios-dgm", "netbios-ns", "netbios-ns tcp",
    "netbios-ns udp", "netbios-ssn",
    "pptp", "ras", "rcmd", "rtsp", "rtsp port <b:port>", "sip", "sip tcp port <b:port>", "sip udp port <b:port>",
    "skinny", "skinny tcp port <b:port>", "sunrpc", "sunrpc tcp", "sunrpc udp", "tftp", "enable-sym-port", "mgcp",
    "mgcp tcp port <b:port>", "mgcp udp port <b:port>", "nbar", "append-ldap-search-res", "port-randomization",
    "allow-h323-even-rtp-ports", "allow-h323-keepalive", "allow-sip-even-rtp-ports", "allow-skinny-even-rtp-ports",
    "alg tcp dns", "alg udp dns", "allow-multipart",
)  # fmt: skip
_DIRECTIVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((f"service {service}", ()) for service in SERVICES),
    ("create flow-entries", ()),
    ("switchover replication http", ("port <b:port>",)),
    ("route vrf <a:name> <net:address> <mask:any-mask> global", ()),
    ("log translations syslog", ("bind-only",)),
    (
        "log translations flow-export v9 udp destination <a:address> <b:port>",
        ("source <s:interface>", "vrf <v:name>", "bind-only"),
    ),
    ("log translations flow-export v9 udp ipv6-destination <r:rest>", ()),
    ("log translations flow-export v9 <r:rest>", ()),
    ("settings mode cgn", ()),
    ("settings mode default", ()),
    ("settings support mapping outside", ()),
    ("settings pap", ("limit <l:number>", "bpa", "set-size <s:number>", "step-size <p:number>", "single-set")),
    ("settings interface-overload port range <b:port> <c:port>", ()),
    ("settings interface-overload block port <p:protocol-word> <b:port>", ()),
    ("settings gatekeeper-size <b:number>", ()),
    ("settings nonpatdrop", ()),
    ("settings scale bind", ()),
    ("settings pool watermark", ("high <h:number>", "low <l:number>")),
    ("settings central-policy", ()),
    ("settings <r:rest>", ()),
    (
        "stateful id <b:number>",
        (
            "primary <m:address>",
            "backup <k:address>",
            "peer <e:address>",
            "redundancy <n:name>",
            "mapping-id <i:id>",
            "protocol <u:protocol-word>",
            "as-queuing disable",
        ),
    ),
    ("sip-sbc", ()),
    ("piggyback-support <r:rest>", ()),
    ("portmap <a:name> <r:rest>", ()),
)


def _interface_forms() -> list[Form]:
    forms = [Form(f"ip nat {role}", make_role, (), {"role": role}) for role in Role]
    address = "ip address <address:address> <length:mask>"
    for pattern, what, options in (
        (address, "address", ("secondary",)),
        ("ip address dhcp <rest:rest>", "dhcp", ()),
        ("ip address negotiated <rest:rest>", "negotiated", ()),
        ("ip address", "none", ()),
        ("ip unnumbered <interface:interface> <rest:rest>", "unnumbered", ()),
        ("vrf forwarding <vrf:name>", "vrf", ()),
        ("ip vrf forwarding <vrf:name>", "vrf", ()),
        ("vrf forwarding", "vrf", ()),
        ("ip vrf forwarding", "vrf", ()),
        ("shutdown", "shutdown", ()),
    ):
        forms.append(Form(pattern, Context, options, {"what": what}))
    return forms


NAT = Grammar(
    [
        *_statics("ip nat [name <name:name>] inside", Side.INSIDE, _STATIC_OPTIONS),
        *_statics("ip nat outside", Side.OUTSIDE, (*_STATIC_OPTIONS, "add-route")),
        *_statics("ip nat", Side.NVI, (*_STATIC_OPTIONS, "add-route")),
        *_dynamics("ip nat [name <name:name>] inside source", Side.INSIDE,
                   ("pool <pool:name>", "interface <interface:interface>"), _DYNAMIC_OPTIONS),
        *_dynamics("ip nat outside source", Side.OUTSIDE, ("pool <pool:name>",), (*_REDUNDANCY, *_VRF, "add-route")),
        *_dynamics("ip nat [name <name:name>] inside destination", Side.DESTINATION, ("pool <pool:name>",),
                   (*_REDUNDANCY, *_VRF)),
        *_dynamics("ip nat source", Side.NVI,
                   ("pool <pool:name>", "interface <interface:interface>"), _DYNAMIC_OPTIONS),
        *_pools("ip nat", nvi=False),
        *_pools("ip nat source", nvi=True),
        *_translation(),
        *(Form(f"ip nat {pattern}", Directive, options, keeps_words=True) for pattern, options in _DIRECTIVES),
        Form("ip nat settings gatekeeper-size", Partly, (), {"setting": ("settings", "gatekeeper-size")}, only_no=True),
        Form("ip nat name <name:name>", Partly, (), {"named": True}, only_no=True),
    ]
)  # fmt: skip
"""Global commands of NAT."""

INTERFACE = Grammar(_interface_forms())
POOL = Grammar(
    [
        Form("address <first:address> <last:address>", make_segment),
        Form("range <first:address> <last:address>", make_segment),
    ]
)
STATEFUL = Grammar(
    [
        Form(pattern, Context)
        for pattern in ("primary <a:address>", "backup <a:address>", "peer <a:address>", "mapping-id <b:id>",
                        "redundancy <n:name>", "protocol udp", "as-queuing disable", "as-queuing enable")
    ]
)  # fmt: skip
"""Lines of a block under `ip nat stateful id N`: words of that command."""
STANDARD = Grammar([Form("<permit:action> <source:source> <qualifiers:qualifiers>", Entry)])
EXTENDED = Grammar(
    [
        Form(
            "<permit:action> <protocol:protocol> <source:match> <source_ports:ports> <destination:match> "
            "<destination_ports:ports> <qualifiers:qualifiers>",
            Entry,
        )
    ]
)
