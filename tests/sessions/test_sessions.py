"""Sessions of real programs (curl and vsftpd, OpenSSH, WebSocket) through a pair that fails over again and again."""

import importlib
import os
import pkgutil

import pytest
import sessionclients
from lab_worlds import as_ordinary_user
from summary import Row

import sessions
from sessions import CASES, MOVES, SESSIONS, Pace
from understudy.units import MILLISECOND, SECOND

pytestmark = pytest.mark.usefixtures("peers")
USERS = ("root", "ordinary") if os.geteuid() == 0 else ("ordinary",)
ADVERTISE = 400 * MILLISECOND
"""Who serves shall not change in between, also on a busy machine: the lease lasts three of these."""
QUIET = 200 * MILLISECOND


def told(case: str, lasts_s: int, user: str = USERS[0]) -> dict[str, Row]:
    def tell() -> list[Row]:
        return sessions.tell(case, Pace(lasts_s, QUIET, ADVERTISE))

    if user == "ordinary":
        import_everything()
        rows = as_ordinary_user(tell)
    else:
        rows = tell()
    found = {f"{row['session']} {row['path']}": row for row in rows}
    assert len(found) == len(SESSIONS)
    return found


def import_everything() -> None:
    """Whoever ceases to be root may not be able to read where root's Python lies."""
    CASES["replicate"].plan(None)
    packages = ("understudy", "websockets.asyncio")
    for name in packages:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("encodings.idna", "websockets.extensions.permessage_deflate", "asyncio.taskgroups"):
        importlib.import_module(name)


@pytest.mark.timeout(480)
@pytest.mark.parametrize("user", USERS)
def test_real_sessions_live_through_every_way_to_fail_over_in_a_row(user: str) -> None:
    """Nothing is lost, repeated or altered, nobody connects again, and FTP's control connection carries a new transfer.

    One that was announced before all of it comes in at the end, by an expectation that travelled.

    Power loss, return, killed agent, its return, hand-over, lost link, with both paths through the pair.
    """
    found: dict[str, Row] = {}
    for lasts_s in (14, 50):  # one that ends before the last move proves nothing
        found = told("replicate", lasts_s, user)
        if not any("void" in row for row in found.values()):
            break
    assert {name: (row["ended"], row["why"]) for name, row in found.items()} == dict.fromkeys(found, ("whole", ""))
    assert [(row["moves"], row.get("void")) for row in found.values()] == [(len(MOVES), None)] * len(SESSIONS)


def test_without_replication_none_of_them_lives_through_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control, keepalived alone: what the test above calls whole can end otherwise.

    All of them are waited for in vain, so not as long as where a session may yet go on.
    """
    monkeypatch.setattr(sessionclients, "STALLED", 6 * SECOND)
    found = told("unreplicated", 8)
    assert {row["ended"] for row in found.values()} <= {"stalled", "reset"}


def test_without_its_helper_an_active_transfer_cannot_begin() -> None:
    """Control: its way in is an expectation, which the helper makes and replication carries. Nobody else needs it."""
    found = told("no-helpers", 1)
    assert {found.pop(f"ftp-{name} translated")["ended"] for name in ("active", "announced")} == {"refused"}
    assert {row["ended"] for row in found.values()} == {"whole"}
