"""`understudy doctor` on this machine: every trial is a real one, and a failing one says what to do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from understudy.doctor import checks, flows

Row = Mapping[str, Any]


def doctor(environment: Mapping[str, str] | None = None) -> tuple[int, dict[str, Row]]:
    done = subprocess.run(
        [sys.executable, "-c", "from understudy.cli import main; main()", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    document = json.loads(done.stdout)
    assert document["schema"] == "understudy.doctor/1"
    return done.returncode, {row["name"]: row for row in document["checks"]}


def test_what_the_other_kernel_tests_need_is_there() -> None:
    """Every required row is fine on a machine on which the tests pass, and none that is fine has a remedy."""
    code, rows = doctor()
    assert code in (0, 2)
    assert {name for name, row in rows.items() if row["required"] and not row["ok"]} == set()
    assert all(bool(row["remedy"]) != row["ok"] for row in rows.values())
    assert "kernel lease" in rows


def test_missing_packages_are_named() -> None:
    """Without the two commands in PATH the rows say which package brings them, and the exit code is 1."""
    code, rows = doctor({"PATH": "/nonexistent"})
    assert code == 1
    assert rows["nft command"]["remedy"] == "apt-get install nftables"
    assert rows["ip command"]["remedy"] == "apt-get install iproute2"
    assert not rows["macvlan"]["ok"]


def test_a_guard_that_anybody_may_flush_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without an owner the table goes with the flush. That row fails, which is none that is required."""
    render = checks.render_guard
    monkeypatch.setattr(checks, "render_guard", lambda *given: render(*given).replace("flags owner;", ""))
    (failed,) = (row for row in checks.examine() if not row.ok and row.name not in ("rootless lab", *PRIVILEGES))
    assert (failed.name, failed.required) == ("rule set guard", False)


PRIVILEGES = ("capabilities", "real-time priority")


def test_a_lease_that_is_not_refreshed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with a mark that the table does not know the row fails, and only that row."""
    monkeypatch.setattr(checks, "lease_long_mark", lambda group: 5)
    failed = [row.name for row in checks.examine() if row.required and not row.ok]
    assert failed == ["kernel lease"]


@pytest.mark.parametrize(
    ("texts", "row", "remedy"),
    [
        (("_TRACKED", "ct state new accept; "), "flow events", "modprobe nf_conntrack_netlink"),
        (("_HELPED", ' tcp dport 21 ct helper set "ftp";'), "flow helpers", "modprobe -a nf_nat_ftp"),
    ],
)
def test_a_kernel_that_tells_or_reads_nothing_of_flows_is_found(
    texts: tuple[str, str], row: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: where nothing is tracked, or no helper reads, that row fails and says what to load."""
    name, needed = texts
    text = getattr(flows, name)
    assert needed in text
    monkeypatch.setattr(flows, name, text.replace(needed, ""))
    monkeypatch.setattr(flows, "_WAIT_S", 0.3)
    (failed,) = (row for row in checks.examine() if not row.ok and row.name not in ("rootless lab", *PRIVILEGES))
    assert (failed.name, failed.required) == (row, False)
    assert failed.remedy.startswith(remedy)
