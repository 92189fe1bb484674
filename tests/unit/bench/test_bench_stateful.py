"""keepalived with conntrackd on real daemons: it elects, replicates, commits; without it connections are lost."""

import tempfile
from pathlib import Path

import flows
import pytest
from conntrackd import STATEFUL
from injections import FAULTS
from strikes import Stand
from summary import Row
from witness import witness

from understudy.drill.stage import Population
from understudy.lab import sandbox

CONNECTIONS = 20


def strike_each() -> dict[str, Row]:
    """One power loss a contender."""
    plan, rows = flows.plan_for(None), {}
    with tempfile.TemporaryDirectory() as state:
        for name in ("conntrackd", "conntrackd-direct", "unreplicated"):
            directory = Path(tempfile.mkdtemp(dir=state))
            stand = Stand(STATEFUL[name], plan, directory, population=Population(CONNECTIONS), witness=witness)
            stand.up()
            rows[name] = stand.strike(FAULTS["node-power-loss"], 0, 0.5)
            stand.lab.down()
    return rows


@pytest.mark.usefixtures("peers")
def test_conntrackd_saves_connections_and_its_absence_does_not() -> None:
    """The one has them in the new kernel at its first answer, the other brings them there later; the control never."""
    rows = sandbox.run(strike_each)
    assert all(row["tcp_established"] == CONNECTIONS for row in rows.values())
    assert {name: row["tcp_survived"] for name, row in rows.items()} == {
        "conntrackd": CONNECTIONS,
        "conntrackd-direct": CONNECTIONS,
        "unreplicated": 0,
    }
    assert rows["conntrackd-direct"]["missing_at_answer"] == 0
    assert rows["conntrackd"]["missing_at_answer"] >= CONNECTIONS
    assert rows["unreplicated"]["missing_at_answer"] >= CONNECTIONS
