"""The decision's table: each row decides something, and its order says what matters more."""

import pytest

from understudy.core.decision import TABLE, Action, PeerIs, View, decide
from understudy.wire.heartbeat import Role


def view(role: Role, **changes: object) -> View:
    """An ordinary situation: an Active with a standby beside it, or a Backup that hears an Active."""
    usual: dict[str, object] = {
        "role": role,
        "eligible": True,
        "port_up": True,
        "silent": False,
        "peer": PeerIs.STANDING_BY if role is Role.ACTIVE else PeerIs.ACTIVE,
        "peer_eligible": True,
        "reach": 6,
        "peer_reach": 6,
        "settled": True,
        "preempts": False,
        "peer_requests": False,
    }
    return View(**{**usual, **changes})  # type: ignore[arg-type]


ACTIVE, BACKUP = Role.ACTIVE, Role.BACKUP
GONE, STANDING_BY, PEER_ACTIVE = PeerIs.GONE, PeerIs.STANDING_BY, PeerIs.ACTIVE


@pytest.mark.parametrize(
    ("situation", "action"),
    [
        (view(ACTIVE), Action.STAY),
        (view(ACTIVE, peer=GONE, port_up=False), Action.STAND_DOWN),
        (view(ACTIVE, port_up=False, reach=0), Action.OFFER),
        (view(ACTIVE, port_up=False, reach=0, peer_eligible=False), Action.STAND_DOWN),
        (view(ACTIVE, eligible=False), Action.OFFER),
        (view(ACTIVE, eligible=False, peer=GONE), Action.STAY),
        (view(ACTIVE, eligible=False, peer_eligible=False), Action.STAY),
        (view(ACTIVE, reach=4), Action.OFFER),
        (view(ACTIVE, reach=4, settled=False), Action.STAY),
        (view(ACTIVE, reach=4, peer_eligible=False), Action.STAY),
        (view(ACTIVE, reach=4, peer=GONE), Action.STAY),
        (view(ACTIVE, peer_reach=4), Action.STAY),
        (view(ACTIVE, peer_requests=True), Action.OFFER),
        (view(ACTIVE, peer_requests=True, peer_reach=4), Action.STAY),
        (view(ACTIVE, peer=PEER_ACTIVE, rival=True, ranks_first=False), Action.STAND_DOWN),
        (view(ACTIVE, peer=PEER_ACTIVE, rival=True), Action.STAY),
        (view(ACTIVE, peer=PEER_ACTIVE, rival=True, rival_is_deaf=True), Action.STAND_DOWN),
        (view(BACKUP), Action.STAY),
        (view(BACKUP, peer=GONE, silent=True), Action.TAKE_OVER),
        (view(BACKUP, peer=GONE, silent=True, eligible=False), Action.STAY),
        (view(BACKUP, peer=GONE, silent=True, port_up=False), Action.STAY),
        (view(BACKUP, peer=GONE), Action.STAY),
        (view(BACKUP, silent=True), Action.STAY),
        (view(BACKUP, silent=True, peer=STANDING_BY), Action.TAKE_OVER),
        (view(BACKUP, silent=True, peer=STANDING_BY, reach=4), Action.STAY),
        (view(BACKUP, silent=True, peer=STANDING_BY, reach=4, peer_eligible=False), Action.TAKE_OVER),
        (view(BACKUP, preempts=True), Action.REQUEST),
        (view(BACKUP, preempts=True, reach=4), Action.STAY),
        (view(BACKUP, preempts=True, peer=GONE), Action.STAY),
        (view(Role.INITIALIZE), Action.STAY),
    ],
)
def test_a_situation_leads_to_its_action(situation: View, action: Action) -> None:
    """One line a case; the sentence of the row is what `explain` prints."""
    row = decide(situation)
    assert row.action is action, row.sentence
    assert row.sentence.endswith(".")


def test_every_change_of_role_has_a_reason() -> None:
    """Rows that move the group by themselves say why in a few words; an offer carries its sentence."""
    for row in TABLE:
        assert bool(row.reason) == (row.action in (Action.TAKE_OVER, Action.STAND_DOWN)), row.sentence
