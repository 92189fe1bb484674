"""A file on trial: what a node goes back to and when, and what another life of its agent is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.agent.again import Again
from understudy.agent.options import AgentOptions
from understudy.agent.trial import EARLIER_TRIES, RETRY_S, TRIAL_S_MAX, Trial
from understudy.config import load_plan
from understudy.config.problems import Problems
from understudy.units import NodeName

TEXT = b"""\
cluster: shop
networks: {outside: 203.0.113.0/24, inside: 10.9.0.0/24}
nodes:
  gw1: {outside: 203.0.113.1, inside: 10.9.0.1}
  gw2: {outside: 203.0.113.2, inside: 10.9.0.2}
redundancy:
  edge: {nodes: [gw1, gw2], addresses: {outside: 203.0.113.10, inside: 10.9.0.254}}
"""
OTHER = TEXT.replace(b"203.0.113.10", b"203.0.113.20")


def options(text: bytes = TEXT) -> AgentOptions:
    return AgentOptions(load_plan(text), NodeName("gw1"), Path("/run/x"), bytes(range(32)), state_dir=Path("/state"))


def test_a_trial_is_over_when_its_time_is_unless_more_is_given() -> None:
    """And never before it began."""
    trial = Trial()
    assert not trial.due(1e9)
    trial.begin(options(), 100.0, 5.0)
    assert [trial.due(now) for now in (104.9, 105.0)] == [False, True]
    trial.extend(104.0, 10.0)
    assert [trial.due(now) for now in (105.0, 114.0)] == [False, True]
    trial.end()
    assert not trial.due(1e9)


def test_the_way_back_leads_to_what_was_before_the_first_of_several() -> None:
    """Each of them may have been wrong."""
    trial, first = Trial(), options()
    trial.begin(first, 0.0, 5.0)
    trial.begin(options(OTHER), 1.0, 5.0)
    assert trial.before is first
    assert trial.deadline == 6.0


def test_no_trial_lasts_for_ever() -> None:
    """Whatever a client asks for."""
    trial = Trial()
    trial.begin(options(), 0.0, 1e12)
    assert trial.due(TRIAL_S_MAX)


def test_a_way_back_that_fails_is_tried_again() -> None:
    """A while later, and it is known how often."""
    trial = Trial(options(), 10.0, restarts=True)
    for number in range(1, EARLIER_TRIES + 2):
        trial.failed(20.0)
        assert trial.tries == number
        assert [trial.due(now) for now in (20.0, 20.0 + RETRY_S)] == [False, True]


def test_whoever_turns_a_node_back_waits_for_nobody_else() -> None:
    """He knows what the other node does."""
    trial = Trial(options(), 1000.0, restarts=True)
    trial.turn_back(5.0)
    assert trial.due(5.0)
    assert trial.tries >= EARLIER_TRIES


def test_a_life_without_a_trial_needs_no_restart_to_go_back_later() -> None:
    """Live changes stay live after a restart."""
    assert not Trial(None, 0.0, restarts=True).restarts
    assert Trial(options(), 0.0, restarts=True).restarts


def test_the_next_life_is_what_this_one_said() -> None:
    """Key, directories, file and the way back."""
    again = Again(options(), "new.yaml", b"", options(OTHER), 7.5)
    assert Again.unpacked(again.packed()) == again


def test_a_text_is_read_by_the_code_of_the_next_life() -> None:
    """The plan that this one made of it is not used, since it may be of another version."""
    again = Again.unpacked(Again(options(), "new.yaml", OTHER).packed())
    assert again.options == options(OTHER)


def test_a_text_with_problems_is_said_and_the_way_back_is_still_there() -> None:
    """The new code may refuse what the old one took."""
    with pytest.raises(Problems):
        Again.unpacked(Again(options(), "new.yaml", b"cluster: [", options()).packed())


def test_values_that_the_next_life_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that it misses have their defaults."""
    from understudy.agent import again as module

    plain = module._plain

    def newer(each: AgentOptions) -> dict[str, Any]:
        values = {**plain(each), "of_tomorrow": 1}
        del values["state_dir"]
        return values

    monkeypatch.setattr(module, "_plain", newer)
    packed = Again(options()).packed()
    assert Again.unpacked(packed).options == replace(options(), state_dir=None)
