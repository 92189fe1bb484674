"""Where a statement of the running lines was written: the operator's own file and line, not that of the canonical form.

Two readings of the same statements are laid side by side, the canonical text and the lines as they were given.
"""

from collections.abc import Sequence

from understudy.config.plan import IosLine
from understudy.ios.lines import Reading
from understudy.ios.reader import read_text

Places = dict[int, tuple[str, str]]
"""Line of the canonical text -> `edge.ios:12` and the line as it stands there."""


def places_of(canonical: Reading, given: Sequence[IosLine]) -> Places:
    if not given:
        return {}
    own = read_text("\n".join(each.text for each in given))
    found: Places = {}

    def put(line: int | None, number: int | None) -> None:
        if line is not None and number is not None and 0 < number <= len(given):
            found.setdefault(line, (given[number - 1].where, given[number - 1].text))

    for key, line in canonical.running.lines.items():
        put(line, own.running.lines.get(key))
    for name, held in canonical.running.lists.items():
        other = own.running.lists.get(name)
        for sequence, line in held.lines.items():
            put(line, other.lines.get(sequence) if other is not None else None)
    return found
