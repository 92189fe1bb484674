"""Taking the group over, and passing it on: the machines by themselves. The stories are in test_core_switchover."""

from typing import Any

import pytest
from core_parts import Machines, machines, theirs

from understudy.core.decision import TABLE
from understudy.core.effects import AskAddresses, Effect, Moved, SendVrrp, SetRole, Step
from understudy.core.events import Quietened
from understudy.core.handover import OFFER_DEADLINE
from understudy.core.holding import ROLE_DEADLINE
from understudy.core.promotion import FAILOVER_STEPS, HANDOVER_STEPS
from understudy.core.rows import Action, Row
from understudy.units import SECOND, Instant
from understudy.wire.heartbeat import Phase, Role
from understudy.wire.vrrp import Advertisement

WANTED = next(row for row in TABLE if row.action is Action.TAKE_OVER)
NOT_WANTED = next(row for row in TABLE if row.action is Action.STAY)
ME, PEER = 1, 2


def begin(group: Machines, *, row: str = "takes-over", token: int = 0) -> list[Effect]:
    out: list[Effect] = []
    group.takeover.begin(Instant(SECOND), row, "a reason", "a cause", token, out)
    return out


def steps(out: list[Effect]) -> list[tuple[str, str]]:
    return [(effect.step, effect.phase) for effect in out if isinstance(effect, Step)]


# --- taking over


def test_a_failover_advertises_before_it_answers_and_ends_with_the_announcement() -> None:
    """It waits for the kernel alone; when that has come, the takeover says that it is over."""
    group = machines()
    out = begin(group)
    assert group.tenure.role is Role.ACTIVE
    assert group.parts.promotion.step == "addresses"
    order = [type(effect) for effect in out]
    assert order.index(SendVrrp) < order.index(SetRole)
    assert group.takeover.addresses_up(Instant(SECOND + 1), out)
    done = [step for step, phase in steps(out) if phase == "done"]
    assert tuple(done) == FAILOVER_STEPS
    assert not group.parts.promotion.under_way


def test_a_hand_over_answers_before_it_advertises() -> None:
    """And says by its phase that the old Active may stop."""
    group, token = machines(node=1), 7
    group.hear_of(theirs(Role.ACTIVE, Phase.OFFERING, token=token, target=PEER), now=SECOND)
    group.parts.handover.take(token)
    out = begin(group, row="offer-taken", token=token)
    assert group.tenure.role is Role.BACKUP
    assert group.takeover.addresses_up(Instant(SECOND + 1), out)
    assert [step for step, phase in steps(out) if phase == "done"] == [s for s in HANDOVER_STEPS if s != "drain"]
    assert group.parts.handover.phase is Phase.TAKEN


def test_addresses_that_are_up_end_no_other_step() -> None:
    """An answer of the kernel while the LANs are asked belongs to an earlier order."""
    group = machines()
    begin(group, row="takes-over-asking")
    assert group.parts.promotion.step == "fence"
    assert not group.takeover.addresses_up(Instant(SECOND + 1), [])
    assert group.parts.promotion.step == "fence"


def ask_until_done(group: Machines, row: Row) -> list[Effect]:
    """Nobody answers; the questions are due one after another."""
    out = begin(group, row="takes-over-asking")
    for _ in range(10):
        if group.parts.promotion.step == "fence":
            assert not group.takeover.overdue(Instant(group.parts.promotion.due), row, out)
    return out


def test_a_fence_that_nobody_answers_opens() -> None:
    """After as many questions as there are to be."""
    group = machines()
    out = ask_until_done(group, WANTED)
    assert sum(isinstance(effect, AskAddresses) for effect in out) == 3
    assert group.tenure.role is Role.ACTIVE


def test_a_failover_that_is_no_longer_wanted_is_cancelled_at_the_fence() -> None:
    """Somebody was heard meanwhile: the table says so, and its sentence is the reason."""
    group = machines()
    out = ask_until_done(group, NOT_WANTED)
    assert Step(group.parts.settings.name, "promotion", "cancelled", NOT_WANTED.sentence) in out
    assert group.tenure.role is Role.BACKUP
    assert not group.parts.promotion.under_way


@pytest.mark.parametrize("token", [0, 7], ids=["failover", "hand-over"])
def test_a_kernel_that_does_not_answer_in_time_ends_the_promotion_and_is_rested_from(token: int) -> None:
    """An Active stands down with a farewell; a successor only gives its addresses back."""
    group = machines()
    if token:
        group.parts.handover.take(token)
    out = begin(group, token=token)
    assert group.parts.promotion.due == SECOND + ROLE_DEADLINE
    assert not group.takeover.overdue(Instant(group.parts.promotion.due), WANTED, out)
    assert group.tenure.role is Role.BACKUP
    assert not group.parts.promotion.under_way
    assert group.parts.rest.after_failure
    assert not group.parts.rest.lacks_state
    assert group.parts.holding.farewell_due is not bool(token)
    assert isinstance([effect for effect in out if isinstance(effect, SetRole)][-1], SetRole)
    assert not [effect for effect in out if isinstance(effect, SetRole)][-1].active


def test_a_second_promotion_asks_as_often_as_the_first() -> None:
    """Nothing of a cancelled one is left."""
    group = machines()
    ask_until_done(group, NOT_WANTED)
    out = ask_until_done(group, WANTED)
    assert sum(isinstance(effect, AskAddresses) for effect in out) == 3


# --- the old Active


def active(**changes: Any) -> Machines:
    """With a standby, and hands that answer."""
    group = machines(**changes)
    group.become_active()
    group.hear_of(theirs(Role.BACKUP))
    return group


def offer(group: Machines) -> int:
    """Made, and found good by the hands; its token."""
    group.succession.offer(Instant(SECOND), "", "for a test", [], urgent=False)
    group.succession.quietened(Instant(SECOND + 1), Quietened(group.parts.settings.name, 1), [])
    return group.parts.handover.token


def quietened(group: Machines, now: int, number: int) -> list[Effect]:
    out: list[Effect] = []
    group.succession.quietened(Instant(now), Quietened(group.parts.settings.name, number), out)
    return out


def test_the_old_active_stops_once_the_successor_spoke_and_its_own_kernel_is_quiet() -> None:
    """Neither alone is enough."""
    group = active()
    token = offer(group)
    group.succession.follow(Instant(2 * SECOND), theirs(Role.ACTIVE, Phase.TAKEN, token=token), [])
    assert group.tenure.role is Role.ACTIVE
    out = quietened(group, 2 * SECOND + 1, 2)
    assert [effect.row for effect in out if isinstance(effect, Moved)] == ["handed-over"]
    assert group.tenure.role is Role.BACKUP


def test_an_offer_that_nobody_takes_is_withdrawn_and_the_old_active_goes_on() -> None:
    """It has never stopped serving."""
    group = active()
    offer(group)
    out: list[Effect] = []
    assert not group.succession.overdue(Instant(SECOND + OFFER_DEADLINE), out)
    assert steps(out) == [("handover", "failed")]
    assert group.tenure.role is Role.ACTIVE
    assert group.parts.handover.phase is Phase.NONE


def test_an_agent_that_ends_and_whose_offer_nobody_takes_says_farewell() -> None:
    """Whom it waited for did not come."""
    group = active()
    offer(group)
    group.parts.standing.stopping = True
    out: list[Effect] = []
    group.succession.overdue(Instant(SECOND + OFFER_DEADLINE), out)
    assert [effect.row for effect in out if isinstance(effect, Moved)] == ["stopped"]
    assert group.parts.holding.farewell_due


def test_a_successor_that_is_heard_but_never_says_its_word_has_the_group() -> None:
    """Two would answer otherwise: it cannot hear that this node goes on."""
    group = active()
    offer(group)
    group.parts.handover.hear_successor([])
    out: list[Effect] = []
    group.succession.overdue(Instant(SECOND + OFFER_DEADLINE), out)
    assert [effect.row for effect in out if isinstance(effect, Moved)] == ["successor-heard"]


@pytest.mark.parametrize(
    ("role", "peer_role", "heard", "phase", "why"),
    [
        (Role.BACKUP, Role.ACTIVE, True, Phase.NONE, "ask the Active node"),
        (Role.ACTIVE, Role.BACKUP, True, Phase.OFFERING, "under way"),
        (Role.ACTIVE, Role.BACKUP, False, Phase.NONE, "no standby is heard"),
        (Role.ACTIVE, Role.INITIALIZE, True, Phase.NONE, "is initialize, not a standby"),
        (Role.ACTIVE, Role.BACKUP, True, Phase.NONE, ""),
    ],
)
def test_a_switchover_says_why_it_is_refused(role: Role, peer_role: Role, heard: bool, phase: Phase, why: str) -> None:
    """Nothing is offered then; the last row is the control."""
    group = machines()
    if role is Role.ACTIVE:
        group.become_active()
    group.hear_of(theirs(peer_role))
    group.parts.peer.fresh = heard
    if phase is Phase.OFFERING:
        offer(group)
    out: list[Effect] = []
    refusal = group.succession.switchover(Instant(2 * SECOND), out, force=False, unsynced=False)
    assert why in refusal
    assert bool(refusal) is bool(why)
    assert bool(out) is not bool(why)
    assert group.parts.handover.yielded is not bool(why)


@pytest.mark.parametrize("force", [False, True])
def test_a_standby_without_the_state_is_offered_the_group_only_by_force(force: bool) -> None:
    """Connections would be lost."""
    group = active()
    refusal = group.succession.switchover(Instant(SECOND), [], force=force, unsynced=True)
    assert ("connections would be lost" in refusal) is not force
    assert (group.parts.handover.phase is Phase.OFFERING) is force


# --- the successor


@pytest.mark.parametrize("rests", [False, True])
def test_an_offer_is_taken_unless_this_node_rests(rests: bool) -> None:
    """Maintenance, or a failure a moment ago."""
    group = machines(node=1)
    if rests:
        group.parts.rest.begin(Instant(0))
    said = theirs(Role.ACTIVE, Phase.OFFERING, token=7, target=PEER)
    group.hear_of(said, now=SECOND)
    group.succession.follow(Instant(SECOND), said, [])
    assert group.parts.promotion.under_way is not rests
    assert (group.parts.handover.phase is Phase.TAKING) is not rests


def successor() -> Machines:
    """It answers, and waits for the old Active to stop."""
    group = machines(node=1)
    said = theirs(Role.ACTIVE, Phase.OFFERING, token=7, target=PEER)
    group.hear_of(said, now=SECOND)
    group.succession.follow(Instant(SECOND), said, [])
    assert group.takeover.addresses_up(Instant(SECOND + 1), [])
    assert (group.tenure.role, group.parts.handover.phase) == (Role.ACTIVE, Phase.TAKEN)
    return group


def test_the_hand_over_is_done_when_the_old_active_says_that_it_stopped() -> None:
    """The successor announces itself again, over whatever the old kernel sent last."""
    group, out = successor(), list[Effect]()
    group.succession.follow(Instant(SECOND + 2), theirs(Role.BACKUP), out)
    assert steps(out) == [("handover", "done")]
    assert group.tenure.role is Role.ACTIVE


def test_a_successor_steps_back_when_the_offer_is_withdrawn_although_it_answers() -> None:
    """The old Active goes on and does not hear it: only one of the two can step back."""
    group, out = successor(), list[Effect]()
    group.succession.follow(Instant(SECOND + 2), theirs(Role.ACTIVE), out)
    assert [effect.row for effect in out if isinstance(effect, Moved)] == ["offer-withdrawn"]


# --- the ear


def advertisement(group: Machines, priority: int) -> Advertisement:
    router = group.parts.settings.routers[0]
    return Advertisement(router.vrid, priority, router.advertisement_interval_cs, router.addresses, router.family)  # type: ignore[arg-type]


def test_our_own_advertisement_come_back_is_nobodys() -> None:
    """Through a loop: not believed, not answered."""
    group = active()
    out: list[Effect] = []
    own = group.parts.voice.local[0]
    assert own is not None
    assert not group.ear.hear(Instant(SECOND), 0, own, advertisement(group, 250), out)
    assert not any(isinstance(effect, SendVrrp | Moved) for effect in out)


@pytest.mark.parametrize(("channel", "stands_down"), [(Role.ACTIVE, True), (Role.BACKUP, False)])
def test_an_active_stands_down_for_a_higher_priority_that_the_channel_does_not_contradict(
    channel: Role, stands_down: bool
) -> None:
    """Of a peer that says it is Backup it is believed no advertisement, and the switch is corrected."""
    group = machines(node=1)
    group.become_active()
    group.hear_of(theirs(channel), now=SECOND)
    peer = group.parts.settings.routers[0].addresses[0]
    out: list[Effect] = []
    assert group.ear.hear(Instant(SECOND), 0, peer, advertisement(group, 250), out) is stands_down
    assert (group.tenure.role is Role.BACKUP) is stands_down
    assert any(isinstance(effect, SendVrrp) for effect in out) is not stands_down
