"""The decision's table: each row decides something, and its order says what matters more."""

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest

from understudy.core.decision import TABLE, decide
from understudy.core.forced import FORCED
from understudy.core.rows import Action, Bound, Who
from understudy.core.situation import Patience, PeerIs, Reaches, View
from understudy.units import MILLISECOND
from understudy.wire.heartbeat import Role

ACTIVE, BACKUP = Role.ACTIVE, Role.BACKUP
GONE, RESTING, READY, ASKING = PeerIs.GONE, PeerIs.RESTING, PeerIs.READY, PeerIs.ASKING
UNSYNCED = PeerIs.UNSYNCED
PEER_ACTIVE, RIVAL, DEAF = PeerIs.ACTIVE, PeerIs.RIVAL, PeerIs.DEAF_RIVAL
LESS, AS_MUCH, MORE = Reaches.LESS, Reaches.AS_MUCH, Reaches.MORE
VALUES: dict[str, tuple[Any, ...]] = {
    "role": (ACTIVE, BACKUP),
    "peer": tuple(PeerIs),
    "reaches": tuple(Reaches),
    "patience": tuple(Patience),
}


def view(role: Role, **changes: Any) -> View:
    """An ordinary situation: an Active with a standby beside it, or a Backup that hears an Active."""
    usual: dict[str, Any] = {
        "role": role,
        "eligible": True,
        "port_up": True,
        "silent": False,
        "peer": READY if role is ACTIVE else PEER_ACTIVE,
    }
    return View(**{**usual, **changes})


def every_view() -> Iterator[View]:
    """All combinations of all values of all fields, sensible or not."""
    names = [field.name for field in fields(View)]
    for values in product(*(VALUES.get(name, (False, True)) for name in names)):
        yield View(**dict(zip(names, values, strict=True)))


@pytest.mark.parametrize(
    ("situation", "name"),
    [
        (view(ACTIVE), "serves"),
        (view(ACTIVE, peer=GONE), "serves-alone"),
        (view(ACTIVE, peer=GONE, port_up=False), "no-carrier"),
        (view(ACTIVE, port_up=False, reaches=LESS), "last-port-lost"),
        (view(ACTIVE, port_up=False, reaches=LESS, peer=RESTING), "no-carrier"),
        (view(ACTIVE, port_up=False, reaches=AS_MUCH), "no-carrier"),
        (view(ACTIVE, eligible=False), "rest-hand-over"),
        (view(ACTIVE, eligible=False, peer=GONE), "serves-for-want-of-another"),
        (view(ACTIVE, eligible=False, peer=RESTING), "serves-for-want-of-another"),
        (view(ACTIVE, eligible=False, peer=UNSYNCED), "rest-waits-for-state"),
        (view(ACTIVE, eligible=False, peer=UNSYNCED, urgent=True), "rest-hand-over-without-state"),
        (view(ACTIVE, eligible=False, urgent=True), "rest-hand-over"),
        (view(ACTIVE, port_up=False, reaches=LESS, peer=UNSYNCED), "last-port-lost"),
        (view(ACTIVE, peer=UNSYNCED), "serves"),
        (view(ACTIVE, peer=UNSYNCED, reaches=LESS), "peer-reaches-more"),
        (view(BACKUP, preempts=True, patience=Patience.STATE), "waits-for-state"),
        (view(BACKUP, silent=True, peer=UNSYNCED, reaches=LESS), "takes-over"),
        (view(ACTIVE, reaches=LESS), "peer-reaches-more"),
        (view(ACTIVE, reaches=LESS, settled=False), "peer-reaches-more-just-now"),
        (view(ACTIVE, reaches=LESS, settled=False, patience=Patience.HOLD_DOWN), "peer-reaches-more-held-down"),
        (view(ACTIVE, reaches=LESS, patience=Patience.HOLD_DOWN), "peer-reaches-more"),
        (view(ACTIVE, reaches=LESS, peer=RESTING), "serves"),
        (view(ACTIVE, reaches=MORE), "serves"),
        (view(ACTIVE, peer=ASKING), "peer-asks"),
        (view(ACTIVE, peer=ASKING, reaches=LESS, settled=False), "peer-asks"),
        (view(ACTIVE, peer=ASKING, reaches=MORE), "serves"),
        (view(ACTIVE, peer=RIVAL, ranks_first=False), "rival-outranks"),
        (view(ACTIVE, peer=RIVAL), "rival-yields"),
        (view(ACTIVE, peer=DEAF), "rival-is-deaf"),
        (view(ACTIVE, peer=DEAF, ranks_first=False), "rival-outranks"),
        (view(BACKUP), "hears-active"),
        (view(BACKUP, peer=GONE), "hears-active"),
        (view(BACKUP, peer=GONE, silent=True), "takes-over"),
        (view(BACKUP, peer=GONE, silent=True, doubt=True), "takes-over-asking"),
        (view(BACKUP, peer=GONE, silent=True, eligible=False), "rests"),
        (view(BACKUP, peer=GONE, silent=True, port_up=False), "no-port"),
        (view(BACKUP, silent=True), "channel-says-active"),
        (view(BACKUP, silent=True, peer=READY), "takes-over"),
        (view(BACKUP, silent=True, peer=READY, reaches=LESS), "peer-takes-over"),
        (view(BACKUP, silent=True, peer=RESTING, reaches=LESS), "takes-over"),
        (view(BACKUP, preempts=True), "asks-back"),
        (view(BACKUP, preempts=True, reaches=LESS), "hears-active"),
        (view(BACKUP, preempts=True, peer=GONE), "hears-active"),
        (view(BACKUP, preempts=True, patience=Patience.DELAY), "asks-back-soon"),
        (view(BACKUP, preempts=True, patience=Patience.HOLD_DOWN), "held-down"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_situation_leads_to_its_row(situation: View, name: str) -> None:
    """One line a case; the sentence of the row is what `explain` prints."""
    assert decide(situation).name == name


def test_every_situation_has_a_row_and_every_row_a_situation() -> None:
    """Totality, and no dead row: all combinations of all values, enumerated."""
    decided = {decide(situation).name for situation in every_view()}
    assert decided == {row.name for row in TABLE}


def test_every_condition_of_a_row_matters() -> None:
    """Dropping one of a row's conditions changes the decision somewhere: no column says what the rows above say."""
    situations = list(every_view())
    for number, row in enumerate(TABLE):
        left = [v for v in situations if v.role is row.role and not any(above.matches(v) for above in TABLE[:number])]
        for name in row.wants:
            others = {key: values for key, values in row.wants.items() if key != name}
            wider = [v for v in left if all(getattr(v, key) in values for key, values in others.items())]
            assert any(not row.matches(v) for v in wider), f"{row.name}: {name} says nothing"


def test_a_held_down_node_still_replaces_a_dead_active() -> None:
    """Hold-down is patience with a change that nobody needs: no row for silence or lost carrier looks at it."""
    for situation in every_view():
        able = situation.eligible and situation.port_up
        if situation.role is BACKUP and situation.silent and able and situation.peer in (GONE, RESTING):
            assert decide(situation).action is Action.TAKE_OVER
    for situation in every_view():
        if situation.role is ACTIVE and situation.patience is not Patience.NONE:
            impatient = decide(replace(situation, patience=Patience.NONE))
            assert decide(situation).action is impatient.action


def test_an_active_without_any_carrier_never_goes_on() -> None:
    """It hands over or stands down, whatever else is the case."""
    for situation in every_view():
        if situation.role is ACTIVE and not situation.port_up:
            assert decide(situation).action in (Action.OFFER, Action.STAND_DOWN)


def test_every_row_explains_itself_in_both_languages() -> None:
    """Stable names, a sentence each, and a reason for every change of role that the table makes."""
    rows = (*TABLE, *FORCED)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.sentence.endswith("."), row.name
        assert row.korean.endswith("."), row.name
        assert any("가" <= letter <= "힣" for letter in row.korean), row.name
        assert row.name == row.name.lower().replace(" ", "-")
        assert set(row.wants) <= {field.name for field in fields(View)}
    for row in TABLE:
        assert bool(row.reason) == (row.action in (Action.TAKE_OVER, Action.STAND_DOWN)), row.name


def test_bounds_count_intervals_skews_and_questions() -> None:
    """3 intervals of 100 ms and a skew of 6.25 ms; the fence's questions take half an interval."""
    skew = 6_250_000
    assert Bound(intervals=3, skews=1).nanoseconds(100 * MILLISECOND, skew) == 306_250_000
    assert Bound(intervals=3, skews=1, questions=True).nanoseconds(100 * MILLISECOND, skew) == 356_250_000
    assert str(Bound()) == "at once"
    assert str(Bound(intervals=3, skews=1)) == "3 intervals + skew"


def test_whoever_answers_meanwhile_is_one_where_the_row_keeps_the_role() -> None:
    """Only rows about two Actives admit that both answer."""
    for row in TABLE:
        if row.answers is Who.BOTH:
            assert row.wants["peer"] in ((RIVAL, DEAF), (DEAF,), (RIVAL,)), row.name
