"""The language of the file as models: what may stand where, with defaults and limits; JSON Schema comes from them.

Short forms (`inside: 10.9.0.0/24` for `inside: {prefixes: [10.9.0.0/24]}`) are widened before validation, so everything
behind this module sees one form. What needs two values to be judged is in `rules`.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from understudy.config import drills as rehearsal
from understudy.config import scalars
from understudy.config.annotations import (
    BOOLEAN,
    Attempts,
    IpAddress,
    IpPrefix,
    Name,
    OneOrMore,
    Short,
    Words,
    scalar,
    span,
    word,
)
from understudy.config.problems import quoted
from understudy.config.scalars import Endpoint, ServerReference, refuse
from understudy.units import CENTISECOND, MILLISECOND, SECOND, Duration

NETWORKS_MAX = 64
NODES_MAX = 512
GROUPS_MAX = 15
"""Four bits of the kernel's `ct mark`, zero excluded."""
SERVICES_MAX = 10_000
SERVERS_MAX = 64
ADDRESSES_MAX = 32
"""Virtual addresses of a group on one network: an advertisement that carries them fits any link."""
BINDINGS_MAX = 2**18 - 1
ADVERTISE_MIN: Duration = CENTISECOND
ADVERTISE_MAX: Duration = 4095 * CENTISECOND
"""RFC 9568, section 5.2.7: 12 bits of centiseconds."""


def _vrid(value: object) -> int:
    return scalars.parse_integer(value, 1, 255, "one number per group and LAN, the same on all its nodes")


def _mode(value: object) -> str:
    text = scalars.text_of(value, "the mode of the group")
    if text == "active-active":
        raise refuse("E2901", "not yet: active-active", "two active-standby groups, each with its own addresses")
    if text != "active-standby":
        raise refuse("E2116", f"{quoted(text)} is not a mode", "active-standby")
    return text


def _kind_of_nat(value: object) -> str:
    """A rule between two networks, or lines of IOS."""
    lines = isinstance(value, str) or (isinstance(value, dict) and not value.keys().isdisjoint(("from", "lines")))
    return NAT_LINES if lines else NAT_RULE


def _line(value: object) -> str:
    return scalars.text_of(value, "a line of Cisco IOS")


def _file_name(value: object) -> str:
    text = scalars.text_of(value, "the path of a file of IOS lines")
    if not text or len(text) > 4096 or not text.isprintable():
        raise refuse("E2507", f"{quoted(text)} is no path", "a file beside this one, such as edge.ios")
    return text


NAT_RULE, NAT_LINES = "<rule>", "<lines>"
"""Which kind of entry of `nat` it is, as a step of pydantic's paths: `config.validate` leaves it out."""
NAT_MAX = 20_000
PROFILES = ("classic", "ios-xe-15.5", "ios-xe-modern")
CHECKSUMS = ("rfc9568", "rfc5798")
VRRP_PEERS = ("understudy", "vrrp")
STATES = ("none", "copy", "replicate")
"""From the least to the most."""
HELPERS = ("ftp", "tftp")
REQUIRED, BEST_EFFORT = "true", "best-effort"
GATE_DEADLINE_MIN: Duration = 10 * MILLISECOND
GATE_DEADLINE_MAX: Duration = 60 * SECOND
COPY_EVERY_MIN: Duration = SECOND
COPY_EVERY_MAX: Duration = 3600 * SECOND


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


_STATE = scalar(word("what happens to state", STATES), enum=list(STATES))


class NetworkModel(_Model):
    """A LAN: one broadcast domain."""

    prefixes: Annotated[
        tuple[IpPrefix, ...],
        Field(min_length=1, max_length=2, description="one prefix, or one IPv4 and one IPv6 prefix"),
        OneOrMore(),
    ]
    gateway: Annotated[
        tuple[IpAddress, ...],
        Field(max_length=2, description="the next router on this LAN: the groups' default route, and a witness"),
        OneOrMore(),
    ] = ()


class AttachmentModel(_Model):
    """A node's port on a network."""

    addresses: Annotated[
        tuple[IpAddress, ...],
        Field(min_length=1, max_length=2, description="one address, or one IPv4 and one IPv6 address"),
        OneOrMore(),
    ]
    interface: Annotated[
        str | None,
        *scalar(scalars.parse_interface, type="string", maxLength=15),
        Field(description="the interface, if its address cannot tell"),
    ] = None


class VrrpModel(_Model):
    """How the group speaks on its LANs, where another implementation or the network wants it otherwise."""

    version: Annotated[
        int,
        *scalar(lambda v: scalars.parse_integer(v, 2, 3), type="integer", minimum=2, maximum=3),
        Field(description="3; 2 to migrate from a pair that still speaks it (IPv4, whole seconds)"),
    ] = 3
    checksum: Annotated[
        str,
        *scalar(word("the form of the checksum", CHECKSUMS), enum=list(CHECKSUMS)),
        Field(
            description="of version 3 over IPv4: rfc9568, or rfc5798 (with a pseudo-header: keepalived 2.2, FRR 8.4)"
        ),
    ] = "rfc9568"
    virtual_mac: Annotated[
        bool, *BOOLEAN, Field(description="whether addresses answer with the virtual MAC, or with the port's own")
    ] = True
    unicast: Annotated[
        bool, *BOOLEAN, Field(description="whether advertisements go to the other node's address, not to the LAN")
    ] = False
    peer: Annotated[
        str,
        *scalar(word("the other node's software", VRRP_PEERS), enum=list(VRRP_PEERS)),
        Field(description="understudy, or vrrp: another implementation, without our channel"),
    ] = "understudy"


class GroupModel(_Model):
    """Nodes that stand in for each other, and the addresses that move between them."""

    mode: Annotated[
        str,
        *scalar(_mode, enum=["active-standby"]),
        Field(description="active-standby: one node holds all addresses"),
    ] = "active-standby"
    nodes: Annotated[tuple[Name, ...], Field(max_length=30, description="two nodes, the preferred one first")]
    addresses: Annotated[
        dict[
            Name,
            Annotated[tuple[IpAddress, ...], Field(min_length=1, max_length=ADDRESSES_MAX), OneOrMore()],
        ],
        Field(min_length=1, description="network: the virtual address or addresses on it"),
    ]
    advertise: Annotated[
        Duration,
        *span(ADVERTISE_MIN, ADVERTISE_MAX, CENTISECOND),
        Field(description="time between two advertisements, 10ms to 40.95s in steps of 10ms"),
    ] = SECOND
    vrid: Annotated[
        int | None,
        *scalar(_vrid, type="integer", minimum=1, maximum=255),
        Field(description="virtual router identifier, 1 to 255; allocated so that no two collide on a LAN"),
    ] = None
    preempt: Annotated[
        bool, *BOOLEAN, Field(description="whether the preferred node takes the addresses back when it returns")
    ] = False
    vrrp: Annotated[VrrpModel, Field(description="how the group speaks, if not as RFC 9568 has it")] = VrrpModel()
    require_sync: Annotated[
        str,
        *scalar(word("whether the state is required", (REQUIRED, BEST_EFFORT)), enum=[True, BEST_EFFORT]),
        Field(description="true: without the replicated flows a node does not serve; best-effort: after the deadline"),
    ] = BEST_EFFORT
    gate_deadline: Annotated[
        Duration,
        *span(GATE_DEADLINE_MIN, GATE_DEADLINE_MAX),
        Field(description="how long a node that takes over waits for replicated flows that it lacks, 10ms to 60s"),
    ] = 2 * SECOND
    copy_every: Annotated[
        Duration,
        *span(COPY_EVERY_MIN, COPY_EVERY_MAX),
        Field(description="time between two copies of the flows whose `state` is `copy`, 1s to 1h"),
    ] = 10 * SECOND


class CheckModel(_Model):
    """How a server is judged: `tcp: true`, `http: /path`, or `none`."""

    tcp: Annotated[bool | None, *BOOLEAN, Field(description="connect")] = None
    http: Annotated[
        str | None,
        *scalar(scalars.parse_http_path, type="string", pattern="^/"),
        Field(description="GET this path; 2xx and 3xx are healthy"),
    ] = None
    none: Annotated[bool | None, *BOOLEAN, Field(description="do not check")] = None
    every: Annotated[
        Duration,
        *span(10 * MILLISECOND, 3600 * SECOND),
        Field(description="time between two checks, 10ms to 1h"),
    ] = SECOND
    timeout: Annotated[
        Duration | None,
        *span(MILLISECOND, 3600 * SECOND),
        Field(description="when a check without an answer has failed, 1ms to 1h; `every`, at most 1s"),
    ] = None
    rise: Annotated[Attempts, Field(description="good checks in a row until a server is used, 1 to 10")] = 2
    fall: Annotated[Attempts, Field(description="failed checks in a row until a server is left out, 1 to 10")] = 3
    port: Annotated[
        int | None,
        *scalar(scalars.parse_port, type="integer", minimum=1, maximum=65535),
        Field(description="the port to check; the server's own"),
    ] = None


class ServiceModel(_Model):
    """Connections to one address, shared among servers."""

    listen: Annotated[
        tuple[Annotated[Endpoint, *scalar(scalars.parse_endpoint, type="string")], ...],
        Field(min_length=1, max_length=ADDRESSES_MAX, description="virtual address and port: 203.0.113.10:80"),
        OneOrMore(),
    ]
    servers: Annotated[
        tuple[Annotated[ServerReference, *scalar(scalars.parse_server, type="string")], ...],
        Field(min_length=1, max_length=SERVERS_MAX, description="node:port or address:port"),
    ]
    check: Annotated[
        CheckModel,
        Words(("none", "tcp"), "none, tcp or {http: /path}"),
        Field(description="how servers are judged: {tcp: true}, {http: /path} or none"),
    ] = CheckModel.model_construct(tcp=True)
    state: Annotated[
        str, *_STATE, Field(description="of its connections in the other node's kernel: none, copy or replicate")
    ] = "none"


class NatModel(_Model):
    """Clients of one network leave through another with the group's address there."""

    source: Annotated[Name, Field(description="network of the clients")]
    to: Annotated[Name, Field(description="network on which they appear with the group's address")]
    state: Annotated[
        str, *_STATE, Field(description="of their connections in the other node's kernel: none, copy or replicate")
    ] = "none"
    helpers: Annotated[
        tuple[
            Annotated[str, *scalar(word("a protocol that opens a second connection", HELPERS), enum=list(HELPERS))],
            ...,
        ],
        Field(max_length=len(HELPERS), description="protocols whose data connections are let through: ftp, tftp"),
        OneOrMore(),
    ] = ()


class IosModel(_Model):
    """Lines of Cisco IOS: a line alone, `lines`, or a file of them."""

    lines: Annotated[
        tuple[Annotated[str, *scalar(_line, type="string")], ...],
        Field(max_length=NAT_MAX, description="lines of Cisco IOS"),
        OneOrMore(),
    ] = ()
    from_: Annotated[
        str | None,
        *scalar(_file_name, type="string"),
        Field(alias="from", description="a file of such lines, its path seen from this one"),
    ] = None
    state: Annotated[str, *_STATE, Field(description="of the translated connections in the other node's kernel")] = (
        "none"
    )
    profile: Annotated[
        str | None,
        *scalar(word("a way of choosing ports", PROFILES), enum=list(PROFILES)),
        Field(description="how `overload` chooses ports; classic"),
    ] = None
    helpers: Annotated[
        tuple[
            Annotated[str, *scalar(word("a protocol that opens a second connection", HELPERS), enum=list(HELPERS))],
            ...,
        ],
        Field(max_length=len(HELPERS), description="protocols whose data connections are let through: ftp, tftp"),
        OneOrMore(),
    ] = ()
    strict: Annotated[
        bool, *BOOLEAN, Field(description="whether what comes from inside and is not translated is dropped")
    ] = False
    rotary_udp: Annotated[
        bool, *BOOLEAN, Field(description="whether UDP goes round a rotary, which a router does for TCP alone")
    ] = False
    rotary_check: Annotated[
        CheckModel | None,
        Field(description="how servers of rotaries are judged, with the port to ask: {tcp: true, port: 80}"),
    ] = None


class ObjectiveModel(_Model):
    """What users of a service may feel."""

    outage: Annotated[
        Duration,
        *span(MILLISECOND, 86400 * SECOND),
        Field(description="longest outage when a gateway dies, 1ms to 1d"),
    ]


class FileModel(_Model):
    """One cluster."""

    cluster: Annotated[Name, Field(description="name of the cluster; seeds the balancing")]
    networks: Annotated[
        dict[Name, Annotated[NetworkModel, Short("prefixes")]],
        Field(min_length=1, max_length=NETWORKS_MAX, description="the LANs"),
    ]
    nodes: Annotated[
        dict[
            Name,
            Annotated[
                dict[Name, Annotated[AttachmentModel, Short("addresses")]],
                Field(min_length=1, max_length=NETWORKS_MAX),
            ],
        ],
        Field(min_length=1, max_length=NODES_MAX, description="the machines and their own addresses"),
    ]
    redundancy: Annotated[
        dict[Name, GroupModel], Field(max_length=GROUPS_MAX, description="groups of nodes that stand in for each other")
    ] = {}
    services: Annotated[dict[Name, ServiceModel], Field(max_length=SERVICES_MAX, description="what is balanced")] = {}
    nat: Annotated[
        tuple[
            Annotated[
                Annotated[NatModel, Tag(NAT_RULE)] | Annotated[IosModel, Short("lines"), Tag(NAT_LINES)],
                Discriminator(_kind_of_nat),
            ],
            ...,
        ],
        Field(max_length=NAT_MAX, description="address translation: rules between networks, lines of Cisco IOS"),
        OneOrMore((dict, str)),
    ] = ()
    objectives: Annotated[
        dict[Name, ObjectiveModel], Field(max_length=SERVICES_MAX, description="service: what its users may feel")
    ] = {}
    drills: Annotated[
        dict[str, dict[str, rehearsal.Value]],
        *scalar(rehearsal.parse_section, **rehearsal.section_schema()),
        Field(description="fault: what is otherwise than by default when it is drilled"),
    ] = {}

    @property
    def translations(self) -> tuple[tuple[int, NatModel], ...]:
        """Rules between networks, each with its place in `nat`."""
        return tuple((at, each) for at, each in enumerate(self.nat) if isinstance(each, NatModel))

    @property
    def ios(self) -> tuple[tuple[int, IosModel], ...]:
        """Lines of IOS, each entry with its place in `nat`."""
        return tuple((at, each) for at, each in enumerate(self.nat) if isinstance(each, IosModel))
