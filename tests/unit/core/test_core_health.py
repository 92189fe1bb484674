"""Servers up or down by rise and fall."""

import pytest

from understudy.core.effects import Noted, SetServers
from understudy.core.events import CheckFinished
from understudy.core.health import Health
from understudy.core.settings import ServerSettings
from understudy.units import ServiceName


def health(rise: int = 2, fall: int = 3) -> Health:
    return Health(ServerSettings(number, ServiceName("web"), f"web{number}:80", rise, fall) for number in (1, 2))


def verdicts(machine: Health, results: str, binding: int = 1) -> str:
    """`+` for a good check, `-` for a bad one; the server's state after each."""
    states = ""
    for result in results:
        machine.handle(CheckFinished(binding, result == "+", "test"))
        states += "U" if binding in machine.up else "d"
    return states


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("+++", "UUU"),
        ("--+", "UUU"),
        ("---", "UUd"),
        ("--+--", "UUUUU"),
        ("---+-++", "UUddddU"),
        ("---++---", "UUddUUUd"),
    ],
)
def test_so_many_checks_in_a_row_decide(results: str, expected: str) -> None:
    """Fall 3, rise 2; a contradiction in between starts the count anew."""
    assert verdicts(health(), results) == expected


def test_a_change_points_the_balancer_at_those_that_are_left() -> None:
    """And says which server, and why."""
    machine = health(fall=1)
    assert machine.handle(CheckFinished(2, False, "refused")) == [
        SetServers(frozenset({1})),
        Noted("server", "web/web2:80", "down: refused"),
    ]


def test_a_check_of_an_unknown_server_is_ignored() -> None:
    """It may have left the file a moment ago."""
    machine = health()
    assert machine.handle(CheckFinished(77, False, "refused")) == []
    assert machine.up == {1, 2}


def test_one_server_does_not_count_for_another() -> None:
    """Streaks are kept apart."""
    machine = health()
    for _ in range(2):
        machine.handle(CheckFinished(1, False, "x"))
        machine.handle(CheckFinished(2, False, "x"))
    assert machine.up == {1, 2}


@pytest.mark.parametrize("results", ["---", "+++", "+-+"])
def test_a_server_is_checked_once_a_dead_one_would_have_been_found(results: str) -> None:
    """Whatever the results are, and however late they came."""
    machine = health()
    for result in results:
        assert machine.checked == frozenset()
        machine.handle(CheckFinished(1, result == "+", "test"))
    assert machine.checked == {1}
