"""What takes two values of the file to judge: addresses and networks, groups and nodes, services and groups."""

from collections.abc import Callable, Iterator
from itertools import islice

from understudy.config.problems import PROBLEMS_MAX, Problem
from understudy.config.rules.groups import check_groups
from understudy.config.rules.keeping import check_keeping
from understudy.config.rules.networks import check_networks, check_nodes, check_owners
from understudy.config.rules.objectives import check_objectives
from understudy.config.rules.scope import Entry, Scope
from understudy.config.rules.services import check_services
from understudy.config.rules.translation import check_translation, translating_groups
from understudy.config.rules.vrrp import check_vrrp

__all__ = ["Entry", "Scope", "cross_check", "translating_groups"]

RULES: tuple[Callable[[Scope], Iterator[Problem]], ...] = (
    check_networks,
    check_nodes,
    check_owners,
    check_groups,
    check_vrrp,
    check_services,
    check_translation,
    check_keeping,
    check_objectives,
)


def cross_check(scope: Scope) -> list[Problem]:
    """Every problem between the values of a file, up to a thousand."""
    return list(islice((problem for rule in RULES for problem in rule(scope)), PROBLEMS_MAX))
