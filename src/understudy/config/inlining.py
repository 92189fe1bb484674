"""The file as it goes to agents, which have none beside it: the lines of files that `from` names stand in it."""

import json
import re
from collections.abc import Sequence

import yaml
from yaml.events import ScalarEvent

from understudy.config.ioslines import read_named
from understudy.config.load import Source, Steps
from understudy.config.models import FileModel
from understudy.config.problems import LINE_BREAK

_UNPLAIN = re.compile("[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What YAML takes within quotes as an escape only."""


def inlined(source: Source, file: FileModel) -> str:
    """The file with what `from` names written into it; its other lines keep their numbers. Raises OperatorError."""
    written: dict[tuple[int, int], str] = {}
    for at, model in file.ios:
        if model.from_ is not None:
            path: Steps = ("nat", at, "from")
            key, value = source.locate(path, key=True)[0], source.locate(path)[0]
            written[key.line, key.column] = "lines"
            written[value.line, value.column] = _listed(read_named(source, model.from_))
    parts, done = [], 0
    for event in yaml.parse(source.text, Loader=yaml.CSafeLoader) if written else ():
        start, end = event.start_mark, event.end_mark
        assert start is not None, "libyaml marks every event"
        assert end is not None, "libyaml marks every event"
        text = written.get((start.line + 1, start.column + 1)) if isinstance(event, ScalarEvent) else None
        if text is not None:
            breaks = len(LINE_BREAK.findall(source.text, start.index, end.index))
            parts += [source.text[done : start.index], text, "\n" * breaks]
            done = end.index
    return "".join((*parts, source.text[done:]))


def _listed(lines: Sequence[str]) -> str:
    """As YAML, in one line: where they stand they are items of it."""
    text = json.dumps(lines, ensure_ascii=False)
    return _UNPLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
