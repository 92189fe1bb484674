"""What users felt, computed from raw instants: each rule of docs/drill.md on a record made by hand."""

import pytest

from understudy.drill.measure import (
    ASK_PERIOD,
    Phases,
    count,
    divide,
    gaps,
    longest_gap,
    overlaps,
    percentile,
    spells,
    split,
    stalls,
    stratified_phases,
)
from understudy.drill.record import Stream
from understudy.units import MILLISECOND, Instant

MS = MILLISECOND


def at(*milliseconds: float) -> list[Instant]:
    return [Instant(int(ms * MS)) for ms in milliseconds]


def every(period: float, start: float, end: float) -> list[Instant]:
    return at(*(start + period * n for n in range(int((end - start) / period) + 1)))


WINDOW = (Instant(0), Instant(1000 * MS))


def test_a_whole_stream_has_no_outage() -> None:
    """Arrivals one sending period apart measure 0, not one period."""
    assert longest_gap(every(1, 0, 1000), WINDOW).outage == 0


def test_an_outage_is_the_time_between_arrivals_less_one_period() -> None:
    """First arrival after - last arrival before - 1 ms."""
    gap = longest_gap(every(1, 0, 400) + every(1, 701, 1000), WINDOW)
    assert (gap.outage, gap.recovered) == (300 * MS, True)


def test_what_never_came_back_is_an_outage_to_the_end_of_the_window() -> None:
    """A stream that ends is no success."""
    gap = longest_gap(every(1, 0, 400), WINDOW)
    assert (gap.outage, gap.recovered) == (599 * MS, False)


def test_a_window_without_any_arrival_is_one_gap() -> None:
    """Nothing at all arrived."""
    assert not longest_gap([], WINDOW).recovered
    assert longest_gap([], WINDOW).outage == 999 * MS


def test_only_gaps_of_the_asked_length_are_listed() -> None:
    """Short ones are jitter, not silence worth drawing."""
    found = gaps(every(1, 0, 100) + every(1, 104, 500) + every(1, 521, 1000), WINDOW, at_least=5 * MS)
    assert [gap.outage for gap in found] == [20 * MS]


def test_lost_doubled_and_overtaken_datagrams_are_told_apart() -> None:
    """Number 2 never comes, 3 comes twice, 5 overtakes 4."""
    arrivals = tuple(zip(at(0, 1, 3, 3.5, 5, 5.5), (0, 1, 3, 3, 5, 4), strict=True))
    stream = Stream("inward", tuple(at(0, 1, 2, 3, 4, 5)), arrivals)
    counted = count(stream, WINDOW)
    assert (counted.sent, counted.lost, counted.duplicated, counted.reordered) == (6, 1, 1, 1)


def test_datagrams_sent_outside_the_window_do_not_count() -> None:
    """Warming up is not measured."""
    stream = Stream("inward", tuple(at(-5, 0, 1)), tuple(zip(at(0.1, 1.1), (1, 2), strict=True)))
    assert count(stream, WINDOW).sent == 2
    assert count(stream, WINDOW).lost == 0


def test_a_sender_that_was_late_is_convicted_by_its_own_record() -> None:
    """6.5 ms between two datagrams is 5.5 ms late; 5.5 ms is not late enough."""
    assert stalls(at(0, 1, 7.5, 8.5), MS, WINDOW) == [(1 * MS, int(7.5 * MS))]
    assert stalls(at(0, 1, 6.5, 7.5), MS, WINDOW) == []


def test_answers_join_into_spells_across_a_lost_one() -> None:
    """Asked every 2 ms: 8 ms of silence is still one spell, 12 ms is not."""
    assert spells(at(0, 2, 4, 12, 24)) == [(0, 12 * MS), (24 * MS, 24 * MS)]


def test_a_clean_hand_over_overlaps_nowhere() -> None:
    """The new node's first answer comes right after the old one's last."""
    assert overlaps({"gw1": every(2, 0, 100), "gw2": every(2, 100.5, 200)}) == []


def test_interleaved_answers_overlap_from_the_first_to_the_last_of_both() -> None:
    """gw1 goes on for 20 ms after gw2 began."""
    found = overlaps({"gw1": every(2, 0, 120), "gw2": every(2, 100, 200)})
    assert split(found, []) == (20 * MS, 0)


def test_one_stray_answer_amid_another_nodes_spell_counts_one_asking_period() -> None:
    """Its length is 0, its harm is not."""
    assert split(overlaps({"gw1": at(50), "gw2": every(2, 0, 100)}), []) == (ASK_PERIOD, 0)


def test_taking_turns_is_no_overlap() -> None:
    """gw1, then gw2, then gw1 again, each alone: only interleaving convicts."""
    assert overlaps({"gw1": every(2, 0, 100) + every(2, 300, 400), "gw2": every(2, 120, 280)}) == []


def test_an_overlap_inside_a_declared_hand_over_is_no_dual_answer() -> None:
    """What lies outside of the declared window stays undeclared."""
    found = overlaps({"gw1": every(2, 0, 120), "gw2": every(2, 100, 200)})
    assert split(found, [(Instant(99 * MS), Instant(121 * MS))]) == (0, 20 * MS)
    assert split(found, [(Instant(99 * MS), Instant(110 * MS))]) == (10 * MS, 10 * MS)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 15), (0.95, 29), (0.99, 30), (1.0, 30)])
def test_percentiles_are_values_that_were_measured(share: float, expected: float) -> None:
    """Nearest rank over 1..30: no value is invented between two runs."""
    assert percentile([float(value) for value in range(30, 0, -1)], share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    """Rather than 0, which would read as a perfect score."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_every_slice_of_the_interval_is_struck_once_in_shuffled_order() -> None:
    """30 runs, 30 slices; the same seed gives the same phases, another one others."""
    phases = stratified_phases(30, seed=7)
    assert sorted(int(phase * 30) for phase in phases) == list(range(30))
    assert phases != sorted(phases)
    assert phases == stratified_phases(30, seed=7)
    assert phases != stratified_phases(30, seed=8)


def test_phases_sum_to_the_time_from_the_fault_to_resumption() -> None:
    """Divided at the milestones, whatever is missing."""
    fault, known, begun, moved, resumed = at(100, 400, 401, 410, 412)
    assert divide(fault, resumed, known, begun, moved) == Phases(300 * MS, 1 * MS, 9 * MS, 2 * MS)
    for milestones in ((None, begun, moved), (known, begun, None), (None, begun, None), (None, None, None)):
        phases = divide(fault, resumed, *milestones)
        assert phases.detect + phases.decide + phases.move + phases.resume == 312 * MS


def test_without_a_promotion_nothing_was_detected() -> None:
    """A gap that no node ended is all waiting."""
    assert divide(*at(100, 400), None, None, None) == Phases(0, 0, 0, 300 * MS)


def test_a_milestone_after_the_traffic_is_cut_off_there() -> None:
    """The last announcement may come after the first datagram: `resume` is then 0, never negative."""
    fault, known, begun, moved, resumed = at(0, 10, 11, 50, 20)
    assert divide(fault, resumed, known, begun, moved) == Phases(10 * MS, 1 * MS, 9 * MS, 0)
