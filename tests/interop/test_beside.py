"""Beside the real daemons of others, on one LAN: one life of a pair each. `bench/interop.py` runs the whole matrix."""

import time
from dataclasses import replace

import pytest
from beside import Pair, within
from lives import Row, Trial, life
from speech import OURS, THEIRS, UNHURRIED, Speech

from understudy.config import load_plan

KEEPALIVED = Speech("keepalived", advertise=UNHURRIED)
FRR = Speech("frr", advertise=UNHURRIED)
WHOLE_LIFE = ["elect", "priority 0", "return", "fail over", "return after death", "heal", "form"]


def _checks(rows: list[Row]) -> list[str]:
    failed = [row for row in rows if not row.ok]
    assert not failed, f"{failed[0].check}: {failed[0].detail}"
    return [row.check for row in rows]


@pytest.mark.parametrize(("speech", "ours_first"), [(KEEPALIVED, False), (FRR, True)], ids=["keepalived", "frr"])
def test_a_pair_with_another_implementation_lives_a_whole_life(speech: Speech, ours_first: bool) -> None:
    """Elected, preempted, left with priority 0, returned, dead, returned, cut off and healed: one serves, and it is who
    must."""
    checks = _checks(Trial(speech, ours_first, preempt=True).run())
    assert sorted(checks) == sorted([*WHOLE_LIFE, "preempt"])


def test_the_wrong_form_of_the_checksum_leaves_keepalived_deaf() -> None:
    """The control: keepalived 2.2.7 believes no advertisement without a pseudo-header, so that both serve, and our
    journal says what to change."""

    def story(pair: Pair) -> None:
        pair.start(THEIRS)
        pair.settle(THEIRS)
        pair.start(OURS)
        pair.until(lambda: pair.speaking() == {OURS, THEIRS} and pair.role() == "active", "both serve")
        (line,) = pair.told("mismatch")
        assert "vrrp.checksum" in line["detail"]
        assert "Invalid VRRPv3 checksum" in pair.theirs.log()

    within(replace(KEEPALIVED, checksum="rfc9568"), story)


def test_another_version_is_refused_and_told() -> None:
    """Counted, named in the journal, and believed by nobody: keepalived speaks 3 where the file says 2."""

    def story(pair: Pair) -> None:
        pair.theirs.options |= {"version": "3", "advertise": "0.1"}
        pair.start(THEIRS)
        pair.start(OURS)
        pair.until(lambda: pair.status()["dropped"].get("vrrp-version", 0) > 1, "version 3 is counted")
        (line,) = pair.told("mismatch")
        assert "vrrp.version" in line["detail"]

    within(replace(KEEPALIVED, version=2, advertise="1s"), story)


def test_multicast_is_not_believed_where_the_file_says_unicast() -> None:
    """And says so; the plain peer is told of in the journal besides."""

    def story(pair: Pair) -> None:
        pair.theirs.options["multicast"] = "yes"
        pair.start(THEIRS)
        pair.start(OURS)
        pair.until(lambda: pair.status()["dropped"].get("vrrp-multicast", 0) > 1, "multicast is counted")
        (line,) = pair.told("mismatch")
        assert "vrrp.unicast" in line["detail"]
        assert [event["subject"] for event in pair.told("plain-vrrp")] == ["front"]

    within(replace(KEEPALIVED, unicast=True), story)


def test_a_node_serves_though_its_unicast_peer_has_never_been_there() -> None:
    """Nobody tells the peer's MAC: advertisements leave all the same, or the kernel lease would end with them."""

    def story(pair: Pair) -> None:
        pair.lab.power_off(THEIRS)
        pair.start(OURS)
        pair.stay(OURS)
        assert all(a.destination_mac[0] & 1 for a in pair.wire.advertised)

    within(replace(KEEPALIVED, unicast=True), story)


def test_a_life_knows_a_dead_pair_from_a_living_one() -> None:
    """The control of the controls: with our agent replaced by nothing, the life ends at its first check."""

    def story(pair: Pair) -> None:
        pair.start = lambda node: None  # type: ignore[method-assign]  # nobody starts
        pair.patience_s = 0.5
        with pytest.raises(AssertionError, match="should serve"):
            next(life(pair, Trial(KEEPALIVED, ours_first=True, preempt=True)))

    within(KEEPALIVED, story)


def test_a_pair_leaves_keepalived_one_node_at_a_time() -> None:
    """keepalived on one node; Understudy on both, each beside a plain peer; then the channel: one always serves."""

    def story(pair: Pair) -> None:
        lab = pair.lab
        pair.start(THEIRS)
        pair.start(OURS)
        pair.settle(THEIRS)
        pair.leave(THEIRS)
        pair.settle(OURS)
        lab.start_agent(THEIRS)
        pair.settle(OURS)
        text = KEEPALIVED.text(ours_first=False, preempt=False)
        lab.plan = load_plan(text.replace("peer: vrrp", "peer: understudy").encode())
        lab.kill_agent(THEIRS)
        lab.start_agent(THEIRS)
        pair.stay(OURS)
        pair.leave(OURS)
        pair.settle(THEIRS)
        pair.start(OURS)
        pair.until(lambda: pair.status()["groups"][0]["peers"][0]["heard"], "the channel is there")
        pair.stay(THEIRS)

    within(KEEPALIVED, story, ours_first=False, preempt=False)


def test_a_frozen_agent_is_silent_before_keepalived_answers() -> None:
    """The kernel lease ends within three intervals, keepalived waits for three and its skew; back from its sleep our
    agent stands down, and takes over by the rules."""

    def story(pair: Pair) -> None:
        pair.start(THEIRS)
        pair.start(OURS)
        pair.settle(OURS)
        frozen = time.time_ns()
        pair.lab.freeze_agent(OURS)
        pair.until(lambda: pair.answering() == {THEIRS}, "keepalived answers")
        answered = [a for a in pair.wire.answered if a.at >= frozen and a.address == pair.address]
        first_of_theirs = next(place for place, a in enumerate(answered) if a.node == THEIRS)
        assert {a.node for a in answered[first_of_theirs:]} == {THEIRS}
        pair.lab.thaw_agent(OURS)
        pair.settle(OURS)
        pair.until(lambda: "resume guard" in [event["reason"] for event in pair.events("moved")], "it stood down")

    within(KEEPALIVED, story)


def test_a_deaf_keepalived_is_told_of() -> None:
    """With `vmac_xmit_base` its kernel hides from it what comes from the virtual MAC: both serve, the journal tells."""

    def story(pair: Pair) -> None:
        pair.start(THEIRS)
        pair.start(OURS)
        assert "does not hear us" in pair.told("mismatch")[0]["detail"]
        assert pair.speaking() == {OURS, THEIRS}

    within(replace(KEEPALIVED, options="  use_vmac\n  vmac_xmit_base\n"), story)
