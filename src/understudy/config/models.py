"""The language of the file as models: what may stand where, with defaults and limits; JSON Schema comes from them.

Short forms (`inside: 10.9.0.0/24` for `inside: {prefixes: [10.9.0.0/24]}`) are widened before validation, so everything
behind this module sees one form. What needs two values to be judged is in `rules`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    Tag,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from understudy.config import drills as rehearsal
from understudy.config import scalars
from understudy.config.problems import quoted
from understudy.config.scalars import Endpoint, ServerReference, refuse
from understudy.units import CENTISECOND, MILLISECOND, SECOND, Address, Duration, Prefix

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

_DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?(us|ms|s|m|h|d)$"


def _scalar(parse: Callable[[object], Any], **schema: Any) -> Any:
    """Annotation of a value read from text (Any: typing knows no better for annotations that are made)."""
    return (PlainValidator(parse), WithJsonSchema(schema))


@dataclass(frozen=True, slots=True)
class _OneOrMore:
    """Annotation of a list: one entry may stand without brackets, if it is of such a kind."""

    kinds: tuple[type, ...] = (object,)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            return [value] if not isinstance(value, list) and isinstance(value, self.kinds) else value

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


@dataclass(frozen=True, slots=True)
class _Short:
    """Annotation of a model: the value of one field may stand for the whole."""

    field: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            return value if isinstance(value, dict) else {self.field: value}

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler(schema)
        return {"anyOf": [handler.resolve_ref_schema(whole)["properties"][self.field], whole]}


@dataclass(frozen=True, slots=True)
class _Words:
    """Annotation of a model: a word may stand for the whole, where the field of that name alone is true."""

    words: tuple[str, ...]
    hint: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def widen(value: object) -> object:
            if isinstance(value, str) and value not in self.words:
                raise refuse("E2116", f"{quoted(value)} is not a word for this", self.hint)
            return {value: "true"} if isinstance(value, str) else value

        return core_schema.no_info_before_validator_function(widen, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(self.words)}, handler(schema)]}


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


def _word(what: str, words: tuple[str, ...]) -> Callable[[object], str]:
    """A parser of one of a few words."""

    def parse(value: object) -> str:
        text = scalars.text_of(value, what)
        if text not in words:
            raise refuse("E2116", f"{quoted(text)} is not a word for this", " or ".join(words))
        return text

    return parse


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

_NAME_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{scalars.NAME}$"}

Name = Annotated[str, *_scalar(scalars.parse_name, **_NAME_SCHEMA)]
IpAddress = Annotated[Address, *_scalar(scalars.parse_address, type="string", description="IPv4 or IPv6 address")]
IpPrefix = Annotated[Prefix, *_scalar(scalars.parse_prefix, type="string", pattern="^[0-9a-fA-F:.]+/[0-9]{1,3}$")]
_BOOLEAN = _scalar(scalars.parse_boolean, type="boolean")
Attempts = Annotated[int, *_scalar(lambda v: scalars.parse_integer(v, 1, 10), type="integer", minimum=1, maximum=10)]


def _span(low: Duration, high: Duration, step: Duration = 1) -> Any:
    """Annotation of a duration within limits (Any: see `_scalar`)."""
    return _scalar(partial(scalars.parse_span, low=low, high=high, step=step), type="string", pattern=_DURATION_PATTERN)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


_STATE = _scalar(_word("what happens to state", STATES), enum=list(STATES))


class NetworkModel(_Model):
    """A LAN: one broadcast domain."""

    prefixes: Annotated[
        tuple[IpPrefix, ...],
        Field(min_length=1, max_length=2, description="one prefix, or one IPv4 and one IPv6 prefix"),
        _OneOrMore(),
    ]
    gateway: Annotated[
        tuple[IpAddress, ...],
        Field(max_length=2, description="the next router on this LAN: the groups' default route, and a witness"),
        _OneOrMore(),
    ] = ()


class AttachmentModel(_Model):
    """A node's port on a network."""

    addresses: Annotated[
        tuple[IpAddress, ...],
        Field(min_length=1, max_length=2, description="one address, or one IPv4 and one IPv6 address"),
        _OneOrMore(),
    ]
    interface: Annotated[
        str | None,
        *_scalar(scalars.parse_interface, type="string", maxLength=15),
        Field(description="the interface, if its address cannot tell"),
    ] = None


class VrrpModel(_Model):
    """How the group speaks on its LANs, where another implementation or the network wants it otherwise."""

    version: Annotated[
        int,
        *_scalar(lambda v: scalars.parse_integer(v, 2, 3), type="integer", minimum=2, maximum=3),
        Field(description="3; 2 to migrate from a pair that still speaks it (IPv4, whole seconds)"),
    ] = 3
    checksum: Annotated[
        str,
        *_scalar(_word("the form of the checksum", CHECKSUMS), enum=list(CHECKSUMS)),
        Field(
            description="of version 3 over IPv4: rfc9568, or rfc5798 (with a pseudo-header: keepalived 2.2, FRR 8.4)"
        ),
    ] = "rfc9568"
    virtual_mac: Annotated[
        bool, *_BOOLEAN, Field(description="whether addresses answer with the virtual MAC, or with the port's own")
    ] = True
    unicast: Annotated[
        bool, *_BOOLEAN, Field(description="whether advertisements go to the other node's address, not to the LAN")
    ] = False
    peer: Annotated[
        str,
        *_scalar(_word("the other node's software", VRRP_PEERS), enum=list(VRRP_PEERS)),
        Field(description="understudy, or vrrp: another implementation, without our channel"),
    ] = "understudy"


class GroupModel(_Model):
    """Nodes that stand in for each other, and the addresses that move between them."""

    mode: Annotated[
        str,
        *_scalar(_mode, enum=["active-standby"]),
        Field(description="active-standby: one node holds all addresses"),
    ] = "active-standby"
    nodes: Annotated[tuple[Name, ...], Field(max_length=30, description="two nodes, the preferred one first")]
    addresses: Annotated[
        dict[
            Name,
            Annotated[tuple[IpAddress, ...], Field(min_length=1, max_length=ADDRESSES_MAX), _OneOrMore()],
        ],
        Field(min_length=1, description="network: the virtual address or addresses on it"),
    ]
    advertise: Annotated[
        Duration,
        *_span(ADVERTISE_MIN, ADVERTISE_MAX, CENTISECOND),
        Field(description="time between two advertisements, 10ms to 40.95s in steps of 10ms"),
    ] = SECOND
    vrid: Annotated[
        int | None,
        *_scalar(_vrid, type="integer", minimum=1, maximum=255),
        Field(description="virtual router identifier, 1 to 255; allocated so that no two collide on a LAN"),
    ] = None
    preempt: Annotated[
        bool, *_BOOLEAN, Field(description="whether the preferred node takes the addresses back when it returns")
    ] = False
    vrrp: Annotated[VrrpModel, Field(description="how the group speaks, if not as RFC 9568 has it")] = VrrpModel()
    require_sync: Annotated[
        str,
        *_scalar(_word("whether the state is required", (REQUIRED, BEST_EFFORT)), enum=[True, BEST_EFFORT]),
        Field(description="true: without the replicated flows a node does not serve; best-effort: after the deadline"),
    ] = BEST_EFFORT
    gate_deadline: Annotated[
        Duration,
        *_span(GATE_DEADLINE_MIN, GATE_DEADLINE_MAX),
        Field(description="how long a node that takes over waits for replicated flows that it lacks, 10ms to 60s"),
    ] = 2 * SECOND
    copy_every: Annotated[
        Duration,
        *_span(COPY_EVERY_MIN, COPY_EVERY_MAX),
        Field(description="time between two copies of the flows whose `state` is `copy`, 1s to 1h"),
    ] = 10 * SECOND


class CheckModel(_Model):
    """How a server is judged: `tcp: true`, `http: /path`, or `none`."""

    tcp: Annotated[bool | None, *_BOOLEAN, Field(description="connect")] = None
    http: Annotated[
        str | None,
        *_scalar(scalars.parse_http_path, type="string", pattern="^/"),
        Field(description="GET this path; 2xx and 3xx are healthy"),
    ] = None
    none: Annotated[bool | None, *_BOOLEAN, Field(description="do not check")] = None
    every: Annotated[
        Duration,
        *_span(10 * MILLISECOND, 3600 * SECOND),
        Field(description="time between two checks, 10ms to 1h"),
    ] = SECOND
    timeout: Annotated[
        Duration | None,
        *_span(MILLISECOND, 3600 * SECOND),
        Field(description="when a check without an answer has failed, 1ms to 1h; `every`, at most 1s"),
    ] = None
    rise: Annotated[Attempts, Field(description="good checks in a row until a server is used, 1 to 10")] = 2
    fall: Annotated[Attempts, Field(description="failed checks in a row until a server is left out, 1 to 10")] = 3
    port: Annotated[
        int | None,
        *_scalar(scalars.parse_port, type="integer", minimum=1, maximum=65535),
        Field(description="the port to check; the server's own"),
    ] = None


class ServiceModel(_Model):
    """Connections to one address, shared among servers."""

    listen: Annotated[
        tuple[Annotated[Endpoint, *_scalar(scalars.parse_endpoint, type="string")], ...],
        Field(min_length=1, max_length=ADDRESSES_MAX, description="virtual address and port: 203.0.113.10:80"),
        _OneOrMore(),
    ]
    servers: Annotated[
        tuple[Annotated[ServerReference, *_scalar(scalars.parse_server, type="string")], ...],
        Field(min_length=1, max_length=SERVERS_MAX, description="node:port or address:port"),
    ]
    check: Annotated[
        CheckModel,
        _Words(("none", "tcp"), "none, tcp or {http: /path}"),
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
            Annotated[str, *_scalar(_word("a protocol that opens a second connection", HELPERS), enum=list(HELPERS))],
            ...,
        ],
        Field(max_length=len(HELPERS), description="protocols whose data connections are let through: ftp, tftp"),
        _OneOrMore(),
    ] = ()


class IosModel(_Model):
    """Lines of Cisco IOS: a line alone, `lines`, or a file of them."""

    lines: Annotated[
        tuple[Annotated[str, *_scalar(_line, type="string")], ...],
        Field(max_length=NAT_MAX, description="lines of Cisco IOS"),
        _OneOrMore(),
    ] = ()
    from_: Annotated[
        str | None,
        *_scalar(_file_name, type="string"),
        Field(alias="from", description="a file of such lines, its path seen from this one"),
    ] = None
    state: Annotated[str, *_STATE, Field(description="of the translated connections in the other node's kernel")] = (
        "none"
    )
    profile: Annotated[
        str | None,
        *_scalar(_word("a way of choosing ports", PROFILES), enum=list(PROFILES)),
        Field(description="how `overload` chooses ports; classic"),
    ] = None
    helpers: Annotated[
        tuple[
            Annotated[str, *_scalar(_word("a protocol that opens a second connection", HELPERS), enum=list(HELPERS))],
            ...,
        ],
        Field(max_length=len(HELPERS), description="protocols whose data connections are let through: ftp, tftp"),
        _OneOrMore(),
    ] = ()


class ObjectiveModel(_Model):
    """What users of a service may feel."""

    outage: Annotated[
        Duration,
        *_span(MILLISECOND, 86400 * SECOND),
        Field(description="longest outage when a gateway dies, 1ms to 1d"),
    ]


class FileModel(_Model):
    """One cluster."""

    cluster: Annotated[Name, Field(description="name of the cluster; seeds the balancing")]
    networks: Annotated[
        dict[Name, Annotated[NetworkModel, _Short("prefixes")]],
        Field(min_length=1, max_length=NETWORKS_MAX, description="the LANs"),
    ]
    nodes: Annotated[
        dict[
            Name,
            Annotated[
                dict[Name, Annotated[AttachmentModel, _Short("addresses")]],
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
                Annotated[NatModel, Tag(NAT_RULE)] | Annotated[IosModel, _Short("lines"), Tag(NAT_LINES)],
                Discriminator(_kind_of_nat),
            ],
            ...,
        ],
        Field(max_length=NAT_MAX, description="address translation: rules between networks, lines of Cisco IOS"),
        _OneOrMore((dict, str)),
    ] = ()
    objectives: Annotated[
        dict[Name, ObjectiveModel], Field(max_length=SERVICES_MAX, description="service: what its users may feel")
    ] = {}
    drills: Annotated[
        dict[str, dict[str, rehearsal.Value]],
        *_scalar(rehearsal.parse_section, **rehearsal.section_schema()),
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
