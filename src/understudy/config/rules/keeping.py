"""State that is kept in the other node's kernel: there is a channel for it, and what is demanded is there."""

from collections.abc import Iterator

from understudy.config.load import Steps
from understudy.config.models import REQUIRED
from understudy.config.problems import Problem
from understudy.config.rules.scope import Scope
from understudy.config.rules.translation import translating_groups


def check_keeping(scope: Scope) -> Iterator[Problem]:
    """Every problem of `state` and `require_sync`. That the nodes share a network is checked with their groups."""
    replicated: set[str] = set()
    for path, state, groups in _kept(scope):
        if state == "replicate":
            replicated.update(groups)
        for name in groups:
            if scope.file.redundancy[name].vrrp.peer == "vrrp":
                message = f"the other node of {name} runs another implementation and keeps nothing of ours"
                yield scope.source.problem(path, "E2316", message, "leave `state` out, or Understudy on both nodes")
    judged = scope.whole("nat") and not any(section == "services" for section, _ in scope.damaged)
    # Which group lines of IOS mean is found later.
    judged = judged and not any(model.state == "replicate" for _, model in scope.file.ios)
    for name, group in scope.file.redundancy.items():
        if group.require_sync == REQUIRED and name not in replicated and judged:
            message = f"{name} replicates nothing that it could wait for"
            hint = "`state: replicate` at a service or a rule of `nat`"
            yield scope.source.problem(("redundancy", name, "require_sync"), "E2315", message, hint)


def _kept(scope: Scope) -> Iterator[tuple[Steps, str, list[str]]]:
    """Where the file says `state`, what, and which groups have the flows."""
    holders = {a: n for n, group in scope.file.redundancy.items() for own in group.addresses.values() for a in own}
    for name, service in scope.file.services.items():
        if service.state != "none":
            groups = dict.fromkeys(holders[end.address] for end in service.listen if end.address in holders)
            yield ("services", name, "state"), service.state, list(groups)
    for place, rule in scope.file.translations:
        if rule.state != "none" and rule.source in scope.file.networks:
            yield ("nat", place, "state"), rule.state, translating_groups(scope.file, rule)
