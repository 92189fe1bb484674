"""The one file: from the operator's text to a `Plan`, or to every problem at once."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.config.plan import Plan
    from understudy.units import Duration

__all__ = ["carried", "load_plan"]


def load_plan(file: "Path | str | bytes", advertise: "Duration | None" = None, state: "str | None" = None) -> "Plan":
    """Read, check and resolve a file, or the bytes of one. Raises Problems with every problem of it.

    `advertise` stands in for the interval of every group, as in `drill --advertise`; it has to be an interval that the
    file could hold, but may miss the file's objectives: whether they are met is then what the drill shows. `state`
    (`none`, `copy` or `replicate`) stands in for that of every service and translation, as in `drill --state`.
    """
    # Late: whoever imports `config.plan` alone shall not pay for YAML and pydantic (150 ms of a `status`).
    from understudy.config.build import load

    return load(file if isinstance(file, bytes) else Path(file), advertise, state)


def carried(file: Path) -> bytes:
    """A file's bytes as they go to agents, which have no file beside it: what `from` names is written into them.

    One that cannot be read whole goes as it is: whoever reads it says why. Raises OperatorError E2001, and E2002 for
    one that is too large as a whole.
    """
    from understudy.config.build import carry

    return carry(file)
