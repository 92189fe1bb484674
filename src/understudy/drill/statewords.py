"""What became of kept flows, in people's words: one line a figure, over all runs, with what it means."""

from collections.abc import Sequence
from typing import NamedTuple

from understudy.drill.measure import percentile
from understudy.drill.picture import Say
from understudy.drill.result import DrillJson, RunJson


class Line(NamedTuple):
    name: str
    value: str
    meaning: str
    good: bool = True


def lines(drill: DrillJson, say: Say) -> list[Line]:
    """Empty if the drill did not look at kept flows."""
    runs = [run for run in drill["runs"] if run.get("vip_before_state") is not None]
    found = _figures(runs, say) if runs else []
    datagrams = [run for run in drill["runs"] if run.get("udp_established")]
    if datagrams:
        survived = sum(run["udp_survived"] for run in datagrams)
        established = sum(run["udp_established"] for run in datagrams)
        meaning = say("idle exchanges of datagrams that the outside could take up again, under the same address")
        found.append(Line(say("idle datagrams"), f"{survived} / {established}", meaning, survived == established))
    return found


def _figures(runs: Sequence[RunJson], say: Say) -> list[Line]:
    early, unsent = _all(runs, "vip_before_state"), _all(runs, "flows_unsent")
    apart = _all(runs, "flows_mismatched")
    last = runs[-1]
    return [
        Line(
            say("address before state"),
            f"{sum(early)}",
            say("flows that a node had received, and not yet in its kernel when its address first answered: must be 0"),
            not sum(early),
        ),
        Line(
            say("never sent"),
            f"{say('max')} {max(unsent)}",
            say("flows that had not left the struck node: the newest, as old as the lag; nothing could save them"),
        ),
        Line(
            say("flows kept"),
            f"{say('active')} {last.get('flows_active')}, {say('standby')} {last.get('flows_standby')}",
            say("in both kernels right before the fault (last run), half-open ones left out"),
        ),
        Line(
            say("different"),
            f"{say('max')} {max(apart)}",
            say("replicated flows that were not the same in both kernels then"),
            not max(apart),
        ),
        Line(
            say("replication lag"),
            _lag(runs, say),
            say("from a flow's first word in the active's kernel to its copy in the standby's"),
        ),
    ]


def _all(runs: Sequence[RunJson], name: str) -> list[int]:
    return [int(run.get(name) or 0) for run in runs]  # type: ignore[call-overload]  # three counts, by name


def _lag(runs: Sequence[RunJson], say: Say) -> str:
    medians = [lag for run in runs if (lag := run.get("sync_lag_ms")) is not None]
    worst = [lag for run in runs if (lag := run.get("sync_lag_max_ms")) is not None]
    if not medians or not worst:
        return "–"
    return f"p50 {percentile(medians, 0.5):.1f} ms, {say('max')} {max(worst):.1f} ms"
