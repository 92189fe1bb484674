"""Which node takes a file when, and how: steps as data, from what the nodes say (pure).

    live        the running node takes it (agent.reload says what it can)
    restart     its groups are handed over, then its agent begins anew with the file
    never       no pair can be led there node by node, because for a while the two would run different files

The standby goes first, so that what fails there fails where nobody is served. Only an interval that becomes shorter
goes to the Active first: a standby that began with it would hear the longer one as silence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from understudy.config.plan import Check, Plan
from understudy.units import SECOND, Duration


class Way(Enum):
    NOTHING = "nothing"
    LIVE = "live"
    RESTART = "restart"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what a node runs and the file, as the node itself judged it (agent.inspection)."""

    kind: str
    words: str
    live: bool
    because: str


RESTARTS: Final[Mapping[str, str]] = {
    "node-ports": "the agent binds its ports and addresses when it begins",
    "network-prefix": "the agent binds its addresses when it begins",
    "group-gone": "its addresses go when the nodes that hold it begin anew",
    "group-nodes": "partners find each other when an agent begins",
    "group-networks": "links of a group are made when an agent begins",
    "group-vrid": "another virtual MAC: the addresses move to it with the hand-over",
    "group-vrrp": "the nodes speak alike again when both have begun anew",
    "group-other": "the agent knows it when it begins",
    "group-ports": "sockets are opened when an agent begins",
}
"""Changes that a running node refuses and a pair can take all the same. What stands in neither table is never taken."""

NEVER: Final[Mapping[str, str]] = {
    "cluster": "another cluster is another pair: stop the agents of this one",
    "node-gone": "the node would serve nothing: stop its agent",
    "node-number": "meanwhile the nodes would take each other for somebody else: add nodes at the end",
    "network-place": "meanwhile the nodes would speak of different networks: add networks at the end",
    "group-number": "meanwhile the nodes would speak of different groups: add groups at the end",
    "binding": "live flows would be taken for those of another server: name what is added otherwise",
    "advertise-v2": "a version 2 peer drops what names another interval, and both would be Active",
}


CHECKED: Final = frozenset({"service", "servers", "check"})
"""Kinds of change after which a server may be found down."""
OBSERVING_MAX: Final[Duration] = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Seen:
    """A node before the change."""

    name: str
    active: frozenset[str]
    """The groups that it serves."""
    partners: Mapping[str, str]
    """By group: the other node, where there is a channel to it."""
    changes: tuple[Change, ...]
    same: bool
    """It runs this very file already."""
    way_back: bool
    """A running node could go back live."""
    here: bool = True
    """Its agent answers here; for another one only words are left."""
    gone: frozenset[str] = frozenset()
    """Groups that the file does not have: who has taken it takes none of them over."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action on one node. `group` and `to` belong to a switchover."""

    action: str
    """`reload`, `restart`, `switchover` or `confirm`."""
    node: str
    group: str = ""
    to: str = ""
    why: str = ""

    def __str__(self) -> str:
        match self.action:
            case "switchover":
                return f"{self.node}: hand {self.group} over to {self.to}"
            case "restart":
                return f"{self.node}: restart the agent ({self.why})"
            case "confirm":
                return f"{self.node}: keep the file for good"
            case _:
                return f"{self.node}: take the file live"


def way(node: Seen, *, restart: bool = False) -> Way:
    """How a node takes the file; `restart`: its agent begins anew in any case."""
    refused = [change for change in node.changes if not change.live]
    if any(change.kind not in RESTARTS for change in refused):
        return Way.NEVER
    if refused or restart or not node.way_back:
        return Way.RESTART
    return Way.NOTHING if node.same else Way.LIVE


def objections(nodes: Iterable[Seen]) -> list[str]:
    """Why the change cannot be led through node by node; empty if it can."""
    found = {}
    for node in nodes:
        for change in node.changes:
            if not change.live and change.kind not in RESTARTS:
                found[change.words] = NEVER.get(change.kind, change.because)
    return [f"{words}: {because}" for words, because in found.items()]


def steps(nodes: Sequence[Seen], *, shorter: bool = False, restart: bool = False) -> tuple[Step, ...]:
    """In order. `shorter`: an interval becomes shorter. Every step is followed by a look at all nodes."""
    ways = {node.name: way(node, restart=restart) for node in nodes}
    restarts = Way.RESTART in ways.values()
    holders = {group: node.name for node in nodes for group in node.active}
    found: list[Step] = []
    for node in sorted(nodes, key=lambda node: len(node.active), reverse=shorter and not restarts):
        if not node.here or ways[node.name] is Way.NOTHING:
            continue
        assert ways[node.name] is not Way.NEVER, "see `objections`"
        if ways[node.name] is Way.LIVE:
            found.append(Step("reload", node.name))
            continue
        for group in sorted(name for name, holder in holders.items() if holder == node.name and name not in node.gone):
            if (to := node.partners.get(group)) is not None:
                found.append(Step("switchover", node.name, group, to))
                holders[group] = to
        found.append(Step("restart", node.name, why=_reason(node, restart=restart)))
    same = {node.name for node in nodes if node.same}
    taken = dict.fromkeys(step.node for step in found if step.action != "switchover" and step.node not in same)
    return (*found, *(Step("confirm", name) for name in taken))


@dataclass(frozen=True, slots=True)
class Observing:
    """What is waited for on a node that took the file, before the next one follows."""

    lasts: Duration = 0
    """It is to be well until its checks would have found a server down that the file itself puts out of service."""
    services: frozenset[str] = frozenset()
    """Of these the checks have to have come in, however late they are."""


def observing(nodes: Iterable[Seen], plan: Plan) -> Observing:
    """Nothing where no server is concerned. A check that tells later than OBSERVING_MAX is not waited for."""
    if not any(change.kind in CHECKED for node in nodes for change in node.changes):
        return Observing()
    tell = {each.name: _tells_after(each.check) for each in plan.services if each.check.kind != "none"}
    in_time = frozenset(str(name) for name, after in tell.items() if after <= OBSERVING_MAX)
    return Observing(min(OBSERVING_MAX, max(tell.values(), default=0)), in_time)


def _tells_after(check: Check) -> Duration:
    return check.every * check.fall + check.timeout


def _reason(node: Seen, *, restart: bool) -> str:
    for change in node.changes:
        if not change.live:
            return RESTARTS[change.kind]
    return "as asked" if restart else "a running node could not go back"


def elsewhere(nodes: Sequence[Seen], file: str, *, restart: bool = False) -> tuple[str, ...]:
    """What to run on the nodes whose agents do not answer here: before this change if they stand by, else after it."""
    option = " --restart" if restart else ""
    when = "first, since this node serves" if any(node.active for node in nodes if node.here) else "then"
    return tuple(f"{when}: on {node.name}: understudy apply {file}{option}" for node in nodes if not node.here)
