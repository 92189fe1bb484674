"""Objectives against what the intervals can give."""

from collections.abc import Iterable, Iterator

from understudy.config.election import priorities
from understudy.config.load import Steps
from understudy.config.models import ADVERTISE_MIN, GroupModel
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope
from understudy.units import CENTISECOND, MILLISECOND, Duration, format_duration

MARGIN: Duration = 25 * MILLISECOND
"""From the decision to the first packet, on a busy machine."""


def outage_max(interval: Duration, nodes: Iterable[str]) -> Duration:
    """The longest outage after the sudden death of the Active, at the slowest standby of a group.

    Active_Down_Interval is three intervals and the skew, (256 - priority) / 256 of one (RFC 9568, section 6.1); it
    began with the last advertisement, and the death may come just behind that.
    """
    return 3 * interval + _skew_256th(nodes) * interval // 256 + MARGIN


def interval_max(outage: Duration, nodes: Iterable[str]) -> Duration:
    """The largest interval, in its step, whose longest outage is at most this; 0 or less if there is none."""
    exact = (outage - MARGIN) * 256 // (3 * 256 + _skew_256th(nodes))
    return exact // CENTISECOND * CENTISECOND


def _skew_256th(nodes: Iterable[str]) -> int:
    return 256 - min(priorities(nodes).values())


def check_objectives(scope: Scope) -> Iterator[Problem]:
    """Every problem of `objectives`. An interval given from outside is not judged: the drill shows what it gives."""
    holders = {a: n for n, group in scope.file.redundancy.items() for own in group.addresses.values() for a in own}
    for name, objective in scope.file.objectives.items():
        path: Steps = ("objectives", name)
        yield from scope.unknown(path, "E2601", "services", name, key=True)
        if name not in scope.file.services or scope.advertise is not None:
            continue
        listens = scope.file.services[name].listen
        for held in dict.fromkeys(holders[end.address] for end in listens if end.address in holders):
            group = scope.file.redundancy[held]
            if group.nodes and ("redundancy", held) not in scope.damaged:
                yield from _check_interval(scope, path, held, group, objective.outage)


def _check_interval(scope: Scope, path: Steps, name: str, group: GroupModel, outage: Duration) -> Iterator[Problem]:
    worst = outage_max(group.advertise, group.nodes)
    if worst <= outage:
        return
    shown = format_duration(-(-worst // MILLISECOND) * MILLISECOND)
    message = f"{name} advertises every {format_duration(group.advertise)}, an outage may last {shown}"
    largest = interval_max(outage, group.nodes)
    if largest >= ADVERTISE_MIN:
        kept = format_duration(outage)
        hint = f"redundancy.{name}.advertise: {format_duration(largest)} is the largest that keeps {kept}"
    else:
        hint = f"the smallest interval, 10ms, may mean {format_duration(outage_max(ADVERTISE_MIN, group.nodes))}"
    yield scope.source.problem((*path, "outage"), "E2602", message, hint)
