"""What a group decides, for the record: the row in force, its sentence, and how often each row came into force.

Rows of the decision's table come into force and last (`in_force`). A move without choice (core.forced) is counted when
it is made, and so is a move of the table whose row was not in force before it. After a move no row is in force.
"""

from understudy.core.effects import Decided, Effect
from understudy.core.rows import Row
from understudy.units import GroupName


class Record:
    def __init__(self, group: GroupName) -> None:
        self.row = ""
        """Name of the row in force."""
        self.sentence = "not started"
        """Of the latest row that was in force."""
        self.times: dict[str, int] = {}
        """By the row's name."""
        self._group = group

    def in_force(self, row: Row, out: list[Effect]) -> None:
        """The decision has come to this row; told when it is another than before."""
        if row.name != self.row:
            self.row, self.sentence = row.name, row.sentence
            self.count(row.name)
            out.append(Decided(self._group, row.name, row.sentence))

    def moved(self, row: str) -> None:
        """The role has changed by this row."""
        if row != self.row:
            self.count(row)
        self.row = ""

    def count(self, row: str) -> None:
        self.times[row] = self.times.get(row, 0) + 1
