"""What the channel contradicts is not believed; what it does not contradict, or only by being late, is."""

from dataclasses import replace
from typing import Any, TypeVar

import pytest
from core_pair import INTERVAL, PAIR_FILE, SKEW, Pair

from understudy.config import load_plan
from understudy.core.disbelief import SUSPICION, Disbelief, Verdict
from understudy.core.effects import Dropped, Moved, Noted, SendVrrp, Step
from understudy.core.peer import PeerView
from understudy.sim.attacker import FORGERIES
from understudy.units import MILLISECOND, SECOND, Instant, NodeName, Priority
from understudy.wire.heartbeat import Body, GroupState, Lease, Phase, Role
from understudy.wire.vrrp import Advertisement

PLAN = load_plan(PAIR_FILE)
SETTINGS = PLAN.settings(NodeName("gw1"))
GROUP = SETTINGS.groups[0]
ROUTER = GROUP.routers[0]
THEIRS = Priority(240)
NOW = Instant(100 * SECOND)


def judged(
    role: Role,
    their_role: Role,
    priority: int = THEIRS,
    *,
    later: bool = True,
    phase: Phase = Phase.NONE,
    digest: bytes = SETTINGS.config_digest,
    fresh: bool = True,
    interval_cs: int = ROUTER.advertisement_interval_cs,
) -> Verdict:
    """Of the second of two equal advertisements; `later`: a heartbeat came between them."""
    peer = PeerView(number=2, name="gw2", heard_at=NOW - 1, ever=True, fresh=fresh)
    peer.body = Body(digest, True, False, (), ())
    theirs = GroupState(1, their_role, Phase.NONE, 0, Lease.NONE, 0, 0, 0)
    message = Advertisement(ROUTER.vrid, Priority(priority), interval_cs, ROUTER.addresses, ROUTER.family)
    disbelief = Disbelief(GROUP, SETTINGS, peer)
    disbelief.judge(NOW, 0, message, role, phase, theirs)
    if later:
        peer.heard_at = NOW + 1
    return disbelief.judge(Instant(NOW + INTERVAL), 0, message, role, phase, theirs)


ACTIVE, BACKUP = Role.ACTIVE, Role.BACKUP
Kind = TypeVar("Kind")


def did(pair: Pair, node: str, kind: type[Kind]) -> list[Kind]:
    """The effects of one kind, in order."""
    return [done.effect for done in pair.effects(node, kind) if isinstance(done.effect, kind)]


@pytest.mark.parametrize(
    ("verdict", "situation"),
    [
        (Verdict.FORGED, {"role": ACTIVE, "their_role": BACKUP}),
        (Verdict.FORGED, {"role": ACTIVE, "their_role": BACKUP, "priority": 255}),
        (Verdict.FORGED, {"role": BACKUP, "their_role": BACKUP}),
        (Verdict.FORGED, {"role": BACKUP, "their_role": ACTIVE, "priority": 0}),
        (Verdict.FORGED, {"role": BACKUP, "their_role": ACTIVE, "priority": 254}),
        (Verdict.FORGED, {"role": BACKUP, "their_role": ACTIVE, "interval_cs": 4095}),
        # the channel may only be late
        (Verdict.WAIT, {"role": ACTIVE, "their_role": BACKUP, "later": False}),
        (Verdict.WAIT, {"role": BACKUP, "their_role": ACTIVE, "priority": 0, "later": False}),
        (Verdict.BELIEVE, {"role": BACKUP, "their_role": BACKUP, "later": False}),
        # the channel agrees
        (Verdict.BELIEVE, {"role": ACTIVE, "their_role": ACTIVE}),
        (Verdict.BELIEVE, {"role": BACKUP, "their_role": ACTIVE}),
        (Verdict.BELIEVE, {"role": BACKUP, "their_role": BACKUP, "priority": 0}),
        # a hand-over: the successor may be heard before its word
        (Verdict.BELIEVE, {"role": ACTIVE, "their_role": BACKUP, "phase": Phase.OFFERING}),
        (Verdict.BELIEVE, {"role": ACTIVE, "their_role": ACTIVE, "phase": Phase.OFFERING}),
        # another file, another priority: nothing is known
        (Verdict.BELIEVE, {"role": BACKUP, "their_role": ACTIVE, "priority": 254, "digest": bytes(16)}),
        # no channel: RFC 9568
        (Verdict.BELIEVE, {"role": ACTIVE, "their_role": BACKUP, "priority": 254, "fresh": False}),
        (Verdict.BELIEVE, {"role": BACKUP, "their_role": ACTIVE, "priority": 0, "fresh": False}),
    ],
    ids=str,
)
def test_the_channel_decides_what_is_believed(verdict: Verdict, situation: dict[str, Any]) -> None:
    """One line a case."""
    assert judged(**situation) is verdict


def test_an_active_answers_what_loses_twice_an_interval_at_most() -> None:
    """RFC 9568 (705) and (770) answer each; a flood would make a flood."""
    disbelief = Disbelief(GROUP, SETTINGS, PeerView())
    message = Advertisement(ROUTER.vrid, Priority(1), 10, ROUTER.addresses, ROUTER.family)
    verdicts = [
        disbelief.judge(Instant(NOW + number * MILLISECOND), 0, message, ACTIVE, Phase.NONE, None)
        for number in range(100)
    ]
    assert verdicts.count(Verdict.BELIEVE) == 2
    assert verdicts.count(Verdict.UNANSWERED) == 98


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("network", ["outside", "inside"])
def test_forgeries_change_no_role_and_lose_nobody(forgery: str, network: str) -> None:
    """At one a millisecond for two seconds; the Active speaks at most three times as often as usual."""
    pair = Pair()
    pair.break_now("forged-advertisements", network=network, lasts=2 * SECOND, amount=MILLISECOND, target=forgery)
    pair.run_for(4 * SECOND)
    assert pair.active() == pair.answering() == ["gw1"]
    assert not pair.moves()
    assert not pair.gaps()
    sent = [done for done in did(pair, "gw1", SendVrrp) if done.network == network]
    assert len(sent) <= 3 * 4 * SECOND // INTERVAL


def test_forgeries_are_counted_and_told_once_a_while() -> None:
    """Every one is counted by its reason; the journal has one line for ten seconds."""
    pair = Pair()
    pair.break_now("forged-advertisements", network="outside", lasts=5 * SECOND, amount=MILLISECOND, target="higher")
    pair.run_for(5 * SECOND)
    dropped = [effect for effect in did(pair, "gw1", Dropped) if effect.reason == "vrrp-contradicts-channel"]
    told = [effect for effect in did(pair, "gw1", Noted) if effect.kind == "vrrp-contradicts-channel"]
    assert len(dropped) > 1000
    assert len(told) == 1
    waited = [effect for effect in did(pair, "gw1", Dropped) if effect.reason == "vrrp-awaits-channel"]
    assert waited  # before the next heartbeat said otherwise
    assert len(waited) < len(dropped)
    assert 5 * SECOND < SUSPICION


def test_a_farewell_that_the_channel_contradicts_shortens_nothing() -> None:
    """Farewells are forged, then the Active's power goes: its lease ends before anybody takes over, as ever."""
    pair = Pair()
    for network in ("outside", "inside"):
        pair.break_now("forged-advertisements", network=network, lasts=SECOND, amount=MILLISECOND, target="farewell")
    pair.run_for(500 * MILLISECOND)
    died = pair.now
    pair.break_now("agent-freeze", "gw1", lasts=5 * SECOND)
    pair.run_for(SECOND)
    (move,) = pair.moves("gw2")
    assert move.at - pair.begin >= died + 2 * INTERVAL + SKEW
    assert pair.answering() == ["gw2"]


def test_a_switchover_works_while_somebody_forges() -> None:
    """The offer is not taken for taken by a forgery, and the successor's own advertisement is believed."""
    pair = Pair()
    pair.break_now("forged-advertisements", network="outside", lasts=9 * SECOND, amount=5 * MILLISECOND, target="same")
    pair.run_for(SECOND)
    pair.break_now("slow-kernel", "gw2", lasts=SECOND, amount=300 * MILLISECOND)
    pair.break_now("switchover", target="edge")
    pair.run_for(2 * SECOND)
    assert pair.active() == pair.answering() == ["gw2"]
    assert [move.new for move in pair.moves()] == [ACTIVE, BACKUP]
    assert not [gap for gap in pair.gaps() if gap.lasted > 10 * MILLISECOND]


def test_a_true_take_over_is_not_disbelieved_while_somebody_forges() -> None:
    """The Active dies among forgeries that stop when it does: the standby needs as long as ever, and a question."""
    pair = Pair()
    pair.break_now("forged-advertisements", network="inside", lasts=SECOND, amount=MILLISECOND, target="same")
    pair.run_for(SECOND)
    pair.break_now("node-power-loss", "gw1", lasts=5 * SECOND)
    pair.run_for(SECOND)
    (move,) = pair.moves("gw2")
    assert isinstance(move, Moved)
    assert move.row == "takes-over-asking"
    assert move.at - pair.begin <= SECOND + 3 * INTERVAL + SKEW + 60 * MILLISECOND
    assert [effect for effect in did(pair, "gw2", Step) if effect.step == "fence"]


def test_two_true_actives_still_become_one_while_somebody_forges() -> None:
    """After a partition the channel says that both are Active: no claim contradicts it."""
    pair = Pair()
    pair.break_now("partition", "gw1", target="gw2", lasts=2 * SECOND)
    pair.run_for(1500 * MILLISECOND)
    assert pair.active() == ["gw1", "gw2"]
    pair.break_now("forged-advertisements", network="outside", lasts=5 * SECOND, amount=MILLISECOND, target="lower")
    pair.run_for(2 * SECOND)
    assert pair.active() == ["gw1"]


def test_a_plain_group_follows_the_rfc() -> None:
    """Without a channel to contradict it, a higher priority wins."""
    peer = PeerView(heard_at=NOW, fresh=True, body=Body(SETTINGS.config_digest, True, False, (), ()))
    theirs = GroupState(1, BACKUP, Phase.NONE, 0, Lease.NONE, 0, 0, 0)
    message = Advertisement(ROUTER.vrid, Priority(254), 10, ROUTER.addresses, ROUTER.family)
    disbelief = Disbelief(replace(GROUP, plain=True), SETTINGS, peer)
    for number in range(3):
        moment = Instant(NOW + number * SECOND)
        assert disbelief.judge(moment, 0, message, ACTIVE, Phase.NONE, theirs) is Verdict.BELIEVE
        peer.heard_at = moment + 1
