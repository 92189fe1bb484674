"""What `understudy apply` says of what drains: only what the nodes have told."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from understudy.cli import apply as module
from understudy.errors import OperatorError

LATE = {"draining": [{"ends_in_s": 0, "left": 3}], "ended": []}
ENDED = {"draining": [], "ended": [{"flows": 3, "at": 20.0}, {"flows": 1, "at": 5.0}]}


class Agents:
    """Each look at a node finds the next of what it says, and the last one ever after; None: it does not answer."""

    def __init__(self, says: Mapping[str, Sequence[Mapping[str, Any] | None]]) -> None:
        self._says = {node: list(each) for node, each in says.items()}

    def inspect(self, node: str, *, flows: bool) -> dict[str, Any]:
        says = self._says[node]
        said = says.pop(0) if len(says) > 1 else says[0]
        if said is None:
            raise OperatorError("E5303", f"{node} did not answer")
        return {"draining": said}


@pytest.mark.parametrize("first", [LATE, None])
def test_with_now_it_is_waited_until_every_node_has_said_that_its_flows_have_ended(first: Any) -> None:
    """One that gives no answer for a moment has said nothing."""
    agents = Agents({"gw1": [first, ENDED], "gw2": [ENDED]})
    found = module._drained(agents, ["gw1", "gw2"], 10.0, now=True)
    assert found["gw1"] == found["gw2"] == {"draining": [], "ended": [{"flows": 3, "at": 20.0}]}


def test_a_node_that_never_answers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDED_PATIENCE_S", 0.0)
    found = module._drained(Agents({"gw1": [None]}), ["gw1"], 10.0, now=True)
    assert found == {"gw1": {"draining": [], "ended": []}}


def test_without_now_nobody_is_waited_for() -> None:
    found = module._drained(Agents({"gw1": [LATE, ENDED]}), ["gw1"], 10.0, now=False)
    assert found["gw1"]["draining"] == LATE["draining"]
