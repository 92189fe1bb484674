"""What a node runs: one file as this node's kernel, core and checks get it. A reload puts another in its place."""

import mmap
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from understudy.agent.draining import still_held
from understudy.agent.lans import kernel_jiffy
from understudy.agent.options import AgentOptions
from understudy.agent.reload import added_addresses
from understudy.config.plan import Plan
from understudy.core.settings import NodeSettings
from understudy.render import render_node
from understudy.render.model import NodeConfig
from understudy.render.text import FAMILY_INET, preamble
from understudy.units import NetworkName
from understudy.wire.marks import BINDING_MAX


class Verdicts:
    """Which servers are down, in memory that the hands share with all that are forked after them: a byte a binding.

    Nothing to read whole, so that hands may die at any moment. Bindings lie anywhere in their range, and pages that
    nobody writes cost nothing.
    """

    def __init__(self) -> None:
        self._down = mmap.mmap(-1, BINDING_MAX + 1)

    def note(self, bindings: Iterable[int], *, down: bool) -> None:
        for binding in bindings:
            self._down[binding] = down

    def among(self, bindings: Iterable[int]) -> frozenset[int]:
        """Those that are down."""
        return frozenset(binding for binding in bindings if self._down[binding])

    def __reduce__(self) -> tuple[type["Verdicts"], tuple[()]]:
        """Where it is sent to, nothing is known yet."""
        return Verdicts, ()


@dataclass(frozen=True, slots=True)
class Running:
    options: AgentOptions
    interfaces: dict[NetworkName, str]
    settings: NodeSettings
    config: NodeConfig
    up: frozenset[int] | None = None
    """The bindings that the balancer may choose at first; None: all but for `verdicts`."""
    announce: bool = False
    """There are addresses that the LANs were not told of."""
    meanwhile: str = ""
    """The lease's table while the core before this one still advertises, if its interval was another.

    A lease must outlast the pause between two advertisements, and end before what the last one told the peer to wait.
    """
    verdicts: Verdicts = field(default_factory=Verdicts)
    """Kept by whichever hands work with this file."""

    def replicates_unlike(self, other: "Running") -> bool:
        """Whether the process that replicates flows must be another one for the other file."""
        ours, theirs = (
            (each.settings.flows, each.settings.groups, each.settings.peers, each.settings.networks, each.options.keys)
            for each in (self, other)
        )
        return ours != theirs

    @property
    def digest(self) -> str:
        return self.options.plan.digest.hex()


def make_running(
    options: AgentOptions,
    interfaces: dict[NetworkName, str],
    up: frozenset[int] | None = None,
    before: Plan | None = None,
) -> Running:
    """Resolve and render the file in `options` for its node, which runs `before` until then."""
    settings = replace(
        options.plan.settings(options.node),
        jiffy=kernel_jiffy(),
        fence=options.lease_enabled,
        gate=options.gate_enabled,
    )
    loaded = replace(options, loaded_ns=time.monotonic_ns())
    config = render(loaded, interfaces, None)
    running = Running(loaded, interfaces, settings, config, up)
    if before is None:
        return running
    announce = added_addresses(before, options.plan)
    return replace(running, announce=announce, meanwhile=_meanwhile(loaded, interfaces, before))


def lease_part(ruleset: str) -> str:
    """The text of a rule set that makes the lease's table, by itself one transaction."""
    return ruleset.partition(preamble(FAMILY_INET))[0]


def _meanwhile(options: AgentOptions, interfaces: dict[NetworkName, str], before: Plan) -> str:
    intervals = {group.name: group.advertise for group in before.groups}
    groups = tuple(replace(g, advertise=intervals.get(g.name, g.advertise)) for g in options.plan.groups)
    if groups == options.plan.groups:
        return ""
    return lease_part(render(replace(options, plan=replace(options.plan, groups=groups)), interfaces, None).ruleset)


def render(options: AgentOptions, interfaces: dict[NetworkName, str], up: frozenset[int] | None) -> NodeConfig:
    """What the kernel of the node shall hold while the servers in `up` are up; None: all."""
    jiffy = kernel_jiffy()
    return render_node(
        options.plan,
        options.node,
        interfaces,
        up=up,
        jiffy=jiffy,
        lease_enabled=options.lease_enabled,
        still=still_held(options.draining),
    )
