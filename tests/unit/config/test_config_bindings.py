"""Bindings: what a live flow's mark means depends on names alone, whatever else is in the file."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from understudy.config import load_plan
from understudy.config.bindings import allocate_bindings, binding_name
from understudy.wire.marks import BINDING_MAX

EXAMPLES = Path(__file__).parents[3] / "examples"
TWINS = ("s838/web1:8080", "s1332/web1:8080")
"""Two names that fall on one number."""

NAMES = st.lists(st.from_regex(r"[a-z]{1,3}/[a-z]{1,3}:[1-9]", fullmatch=True), unique=True, max_size=60)


def alone(name: str) -> int:
    return allocate_bindings([name])[name]


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> set[str]:
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


@given(NAMES, st.randoms(use_true_random=False))
def test_the_order_of_the_file_means_nothing(names: list[str], order: object) -> None:
    """Whichever way services and servers are sorted, every one has its own number, in 18 bits and not 0."""
    shuffled = list(names)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    numbers = allocate_bindings(names)
    assert allocate_bindings(shuffled) == numbers
    assert len(set(numbers.values())) == len(names)
    assert all(1 <= number <= BINDING_MAX for number in numbers.values())


@given(NAMES, NAMES)
def test_whatever_comes_or_goes_moves_only_what_it_collides_with(names: list[str], others: list[str]) -> None:
    """A name that has the number which it has alone keeps it, unless another falls on the same."""
    before, after = allocate_bindings(names), allocate_bindings([*names, *others])
    places = [alone(name) for name in {*names, *others}]
    lonely = {name for name in names if places.count(alone(name)) == 1 and alone(name) - 1 not in places}
    assert not moved(before, after) & lonely


def test_of_two_names_on_one_number_the_later_takes_the_next() -> None:
    """In either order; and the first keeps what it had alone."""
    later, first = TWINS
    assert alone(later) == alone(first)
    for names in (TWINS, TWINS[::-1]):
        assert allocate_bindings(names) == {first: alone(first), later: alone(first) + 1}
    assert moved(allocate_bindings([first]), allocate_bindings(TWINS)) == set()
    assert moved(allocate_bindings([later]), allocate_bindings(TWINS)) == {later}


def test_a_full_file_uses_every_number() -> None:
    """As many servers as the language allows (E2410 refuses more): past the last number comes the lowest free."""
    numbers = allocate_bindings(f"s/{n}:1" for n in range(BINDING_MAX))
    assert sorted(numbers.values()) == list(range(1, BINDING_MAX + 1))


def test_a_service_put_before_the_others_moves_none_of_their_servers() -> None:
    """In a whole file, read and resolved."""
    text = (EXAMPLES / "services.yaml").read_text()
    more = "services:\n  api: {listen: '203.0.113.10:8443', servers: [web1:8443], check: {tcp: true}}\n"
    plans = [load_plan(each.encode()) for each in (text, text.replace("services:\n", more))]
    before, after = (
        {binding_name(s.name, server.name): server.binding for s in plan.services for server in s.servers}
        for plan in plans
    )
    assert len(after) == len(before) + 1
    assert not moved(before, after)
