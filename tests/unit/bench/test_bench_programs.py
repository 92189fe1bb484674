"""Rows of other benchmarks, as `bench/run.py` keeps them and the page shows them."""

from programs import rows_table
from run import rows_in


def test_rows_are_read_in_either_form() -> None:
    """One object with `rows`, JSON lines amid a program's other words, or a single line."""
    assert rows_in('{"command": "x", "rows": [{"ms": 1}, {"ms": 2}]}') == [{"ms": 1}, {"ms": 2}]
    assert rows_in('measuring\n{"ms": 1}\n{"ms": 2}\ndone\n') == [{"ms": 1}, {"ms": 2}]
    assert rows_in('{"ms": 1}\n') == [{"ms": 1}]
    assert rows_in("") == []


def test_a_kind_of_row_is_a_line_with_median_and_worst() -> None:
    """Truth is counted, and equal values are said once."""
    table = rows_table(
        [
            {"kind": "rule", "ms": 3.0, "fine": True, "tries": 1},
            {"kind": "rule", "ms": 9.0, "fine": False, "tries": 1},
            {"kind": "link", "ms": 1.0, "fine": True, "tries": 2},
        ]
    )
    assert table.splitlines()[2:] == ["| rule | 2 | 6, max 9 | 1 of 2 | 1 |", "| link | 1 | 1 | 1 of 1 | 2 |"]
