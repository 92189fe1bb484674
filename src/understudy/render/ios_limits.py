"""Timeouts and limits of IOS NAT for flows between inside and outside: what a flow's first packet is asked and told.

Timeouts become `ct timeout` objects, named by what they say: such an object cannot be changed in a kernel, so another
value is another object. Without a line IOS's own defaults count (docs/reference/nat.md). Limits count flows of this
kernel, which is near to what IOS counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from understudy.ios.model import NEVER, Configuration, Dynamic, MaxEntries, Side
from understudy.render.ios_match import Uncompiled, selection
from understudy.render.text import Chain, Elements

DEFAULTS_S = {
    "tcp-timeout": 86_400, "pptp-timeout": 86_400, "udp-timeout": 300, "dns-timeout": 60, "icmp-timeout": 60,
    "syn-timeout": 60, "finrst-timeout": 60,
}  # fmt: skip
TIMEOUT_MAX_S = 2_000_000
"""Twenty-three days: jiffies are compared as signed 32 bits, at up to 1000 a second."""
PORT_TIMEOUTS_MAX = 256
_HOSTS = "ios_limit_hosts"


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """A `ct timeout` object and which flows it is for."""

    match: str
    protocol: str
    policy: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        return "_".join(("ios", self.protocol, *(str(seconds) for _, seconds in self.policy)))

    @property
    def declaration(self) -> str:
        policy = ", ".join(f"{state} : {seconds}" for state, seconds in self.policy)
        lines = (f"protocol {self.protocol}", "l3proto ip", f"policy = {{ {policy} }}")
        return "\n".join((f"\tct timeout {self.name} {{", *(f"\t\t{line}" for line in lines), "\t}"))


@dataclass(frozen=True, slots=True)
class Limits:
    declared: tuple[Elements, ...]
    chains: tuple[Chain, ...]
    rules: tuple[str, ...]
    """For a chain behind the translation: addresses are asked for as they came."""
    left_out: tuple[str, ...]


def timeouts(configuration: Configuration) -> tuple[TimeoutPolicy, ...]:
    """The more particular first."""
    said = DEFAULTS_S | {each.which: _seconds(each.seconds) for each in configuration.timeouts}

    def tcp(established: int, match: str) -> TimeoutPolicy:
        syn, end = said["syn-timeout"], said["finrst-timeout"]
        policy = (
            ("established", established), ("syn_sent", syn), ("syn_recv", syn), ("fin_wait", end),
            ("close_wait", end), ("last_ack", end), ("time_wait", end), ("close", end),
        )  # fmt: skip
        return TimeoutPolicy(match, "tcp", policy)

    def udp(seconds: int, match: str) -> TimeoutPolicy:
        return TimeoutPolicy(match, "udp", (("unreplied", seconds), ("replied", seconds)))

    made = []
    for each in configuration.port_timeouts[:PORT_TIMEOUTS_MAX]:
        match = f"{each.protocol} dport {each.port}"
        made.append((tcp if each.protocol == "tcp" else udp)(_seconds(each.seconds), match))
    return (
        *made,
        udp(said["dns-timeout"], "udp dport 53"),
        udp(said["udp-timeout"], "meta l4proto udp"),
        tcp(said["pptp-timeout"], "tcp dport 1723"),
        tcp(said["tcp-timeout"], "meta l4proto tcp"),
    )


def timeout_sysctls(configuration: Configuration) -> tuple[tuple[str, int], ...]:
    """What nft has no object for is set for the whole namespace."""
    said = DEFAULTS_S | {each.which: _seconds(each.seconds) for each in configuration.timeouts}
    return (("net/netfilter/nf_conntrack_icmp_timeout", said["icmp-timeout"]),)


def timeout_chain(policies: Sequence[TimeoutPolicy]) -> Chain:
    return Chain("ios_timeouts", tuple(f'{each.match} ct timeout set "{each.name}" return' for each in policies))


def timeout_objects(policies: Sequence[TimeoutPolicy]) -> str:
    """Declarations for the table's text, each once."""
    return "\n\n".join({each.name: each.declaration for each in policies}.values())


def limits(configuration: Configuration, ports: Mapping[str, str]) -> Limits:
    """Of `max-entries`: a host, every host, a list, all."""
    rules: list[str] = []
    chains: list[Chain] = []
    declared: list[Elements] = []
    left_out: list[str] = []
    for number, each in enumerate(configuration.limits):
        over = f"ct count over {each.count} counter drop"
        match each:
            case MaxEntries(count=0):
                continue
            case MaxEntries(scope="host", of=str(host)):
                rules.append(f"ct original ip saddr {host} {over}")
            case MaxEntries(scope="all-host"):
                declared.append(Elements("set", _HOSTS, "type ipv4_addr; size 65535; flags dynamic;", ()))
                rules.append(f"add @{_HOSTS} {{ ct original ip saddr ct count over {each.count} }} counter drop")
            case MaxEntries(scope="list", of=str(name)):
                here, then = f"ios_cap{number}x", f"ios_cap{number}_do"
                rule = Dynamic(Side.INSIDE, access_list=name)
                try:
                    chains += [*selection(configuration, rule, here, then, "ios_nothing", ports), Chain(then, (over,))]
                except Uncompiled as error:
                    left_out.append(f"max-entries of list {name}: {error.what}")
                    continue
                rules.append(f"jump {here}")
            case MaxEntries(scope=""):
                rules.append(over)
            case _:
                left_out.append(f"max-entries {each.scope} {each.of or ''}: not counted here".replace(" :", ":"))
    return Limits(tuple(declared), tuple(chains), tuple(rules), tuple(left_out))


def _seconds(seconds: int) -> int:
    return TIMEOUT_MAX_S if seconds == NEVER else min(max(1, seconds), TIMEOUT_MAX_S)
