"""Address translation: between two known networks, by exactly one group."""

from collections.abc import Iterator

from understudy.config.load import Steps
from understudy.config.models import FileModel, NatModel
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope


def translating_groups(file: FileModel, rule: NatModel) -> list[str]:
    """The groups with addresses on both networks of a rule, in a family of its source."""
    families = {prefix.version for prefix in file.networks[rule.source].prefixes}
    return [
        name
        for name, group in file.redundancy.items()
        if families.intersection(address.version for address in group.addresses.get(rule.source, ()))
        & {address.version for address in group.addresses.get(rule.to, ())}
    ]


def check_translation(scope: Scope) -> Iterator[Problem]:
    """Every problem of `nat`."""
    seen: dict[tuple[str, str], int] = {}
    for place, rule in scope.file.translations:
        path: Steps = ("nat", place)
        yield from scope.unknown((*path, "source"), "E2205", "networks", rule.source)
        yield from scope.unknown((*path, "to"), "E2205", "networks", rule.to)
        for at, helper in enumerate(rule.helpers):
            if helper in rule.helpers[:at]:
                where = (*path, "helpers", at)
                yield scope.source.problem(where, "E2120", f"{helper} stands twice", "name each protocol once")
        if rule.source == rule.to:
            yield scope.source.problem((*path, "to"), "E2501", f"{rule.to} would be translated to itself")
            continue
        first = seen.setdefault((rule.source, rule.to), place)
        if first != place:
            message = f"{rule.source} to {rule.to} stands in line {scope.line(('nat', first))} already"
            yield scope.source.problem(path, "E2504", message, "one rule a pair of networks")
        if {rule.source, rule.to} <= scope.file.networks.keys() and scope.whole("redundancy"):
            yield from _check_group(scope, path, rule)


def _check_group(scope: Scope, path: Steps, rule: NatModel) -> Iterator[Problem]:
    groups = translating_groups(scope.file, rule)
    misnamed = any(not scope.file.networks.keys() >= group.addresses.keys() for group in scope.file.redundancy.values())
    if not groups and not misnamed:
        message = f"no group holds addresses of one family on both {rule.source} and {rule.to}"
        hint = "clients leave with the group's address on `to`, and their gateway is its address on `source`"
        yield scope.source.problem(path, "E2502", message, hint)
    if len(groups) > 1:
        message = f"{', '.join(groups)} all hold addresses on {rule.source} and {rule.to}"
        yield scope.source.problem(path, "E2503", message, "one group on both networks")
