"""Whether the nodes are as they should be: after every step of a change, and before the first (pure).

What was wrong before the change is not held against it: a server that was down, an alarm, a service that did not answer
the probe.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sight:
    """All nodes at one instant. A node that did not answer is missing."""

    statuses: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By node: what its file says and its kernel does not hold."""
    answers: Mapping[str, bool] = field(default_factory=dict)
    """By service address: whether it answered the probe."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What shall be after a step."""

    digests: Mapping[str, str]
    """By node: the file that it runs."""
    holders: Mapping[str, str]
    """By group: the node that serves it. A group may be missing here: then anyone may."""
    sync: bool | None = None
    """Whether the standby holds the state of replicated flows: True before a hand-over; None where it did before, once
    all nodes run the same file: while they do not, their tables need not agree.
    """
    checked: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By node: the services of which a dead server would have been found down by now."""


def problems(before: Sight, now: Sight, expected: Expected) -> list[str]:
    """What is not as expected, the worst first; empty if all is well."""
    return [
        *_nodes(now, expected),
        *_roles(now, expected),
        *_answers(before, now),
        *_pairs(before, now),
        *_syncs(before, now, expected),
        *_servers(before, now, expected),
        *_kernels(before, now),
    ]


def _nodes(now: Sight, expected: Expected) -> Iterator[str]:
    for node, digest in expected.digests.items():
        status = now.statuses.get(node)
        if status is None:
            yield f"{node} does not answer"
        elif status.get("digest") != digest:
            yield f"{node} runs another file than it should"


def _roles(now: Sight, expected: Expected) -> Iterator[str]:
    for group, holders in holders_of(now.statuses.values()).items():
        wanted = expected.holders.get(group)
        if len(holders) > 1:
            yield f"{group}: {' and '.join(holders)} are both Active"
        elif wanted is not None and wanted not in expected.digests:  # Its agent does not answer here.
            if holders:
                yield f"{group} is served by {holders[0]}, not by {wanted}"
        elif wanted is not None and holders != [wanted]:
            yield f"{group} is served by {holders[0] if holders else 'nobody'}, not by {wanted}"


def holders_of(statuses: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By group: the nodes that are Active for it."""
    found: dict[str, list[str]] = {}
    for status in statuses:
        for group in status.get("groups", ()):
            holders = found.setdefault(str(group["name"]), [])
            if group["role"] == "active":
                holders.append(str(status["node"]))
    return found


def _answers(before: Sight, now: Sight) -> Iterator[str]:
    for address, answered in now.answers.items():
        if not answered and before.answers.get(address):
            yield f"{address} does not answer"


def _pairs(before: Sight, now: Sight) -> Iterator[str]:
    """Each hears the other one, who could take over."""
    heard = {(node, name) for node, name, heard, _ in _peers(before) if heard}
    for node, name, hears, words in _peers(now):
        if not hears and ((node, name) in heard or name in now.statuses):
            yield f"{node}: {name} {words}"


def _syncs(before: Sight, now: Sight, expected: Expected) -> Iterator[str]:
    alike = len(set(expected.digests.values())) == 1
    if not (alike if expected.sync is None else expected.sync):
        return
    lacked = {(node, group["name"]) for node, group in _standbys(before) if not in_sync(group)}
    for node, group in _standbys(now):
        if not in_sync(group) and (expected.sync or (node, group["name"]) not in lacked):
            yield f"{node} does not hold the state of {group['name']} yet"


def _standbys(sight: Sight) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for node, status in sight.statuses.items():
        yield from ((node, group) for group in status.get("groups", ()) if group["role"] != "active")


def _peers(sight: Sight) -> Iterator[tuple[str, str, bool, str]]:
    for node, status in sight.statuses.items():
        for group in status.get("groups", ()):
            for peer in group["peers"] if not group.get("plain") else ():
                well = bool(peer["heard"] and peer["eligible"])
                yield node, str(peer["name"]), well, "could not take over" if peer["heard"] else "is not heard"


def in_sync(group: Mapping[str, Any]) -> bool:
    """By the node's own word, once there is one; a group whose flows nobody keeps has none to miss."""
    flows = group.get("flows")
    if not isinstance(flows, Mapping):
        return True
    return bool(flows.get("running", True)) and (not flows.get("replicated", True) or bool(flows.get("complete")))


def _servers(before: Sight, now: Sight, expected: Expected) -> Iterator[str]:
    for node, status in now.statuses.items():
        waited = expected.checked.get(node, frozenset())
        known = before.statuses.get(node, {}).get("servers", ())
        down = {(each["service"], each["name"]) for each in known if not each["up"]}
        for each in status.get("servers", ()):
            # A new one that is down gets connections until the checks find it out: on the Active those of users.
            if not each["up"] and (each["service"], each["name"]) not in down:
                yield f"{node}: server {each['name']} of {each['service']} is down"
            elif each["up"] and each["service"] in waited and not each.get("checked", True):
                yield f"{node}: server {each['name']} of {each['service']} is not checked yet"


def _kernels(before: Sight, now: Sight) -> Iterator[str]:
    for node, lines in now.missing.items():
        new = [line for line in lines if line not in before.missing.get(node, ())]
        yield from (f"{node}: the kernel is not as the file says: {line}" for line in new[:3])
    for node, status in now.statuses.items():
        known = {alarm["object"] for alarm in _alarms(before.statuses.get(node, {}))}
        for alarm in _alarms(status):
            if alarm["object"] not in known:
                yield f"{node}: {alarm['object']}: {alarm['reason']}"


def _alarms(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    found: Iterable[Mapping[str, Any]] = status.get("drift", {}).get("alarms", ())
    return found
