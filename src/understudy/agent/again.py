"""An agent that begins anew in its own process: the same process id, another file, and the code that is installed now.

A change that needs a restart, and the upgrade of Understudy itself, must not depend on who started the agent: a service
manager, a lab or a terminal. So the supervisor ends as ever (hands over, takes everything out of the kernel) and then
executes this module instead of returning. The service manager's view of the process, its rights, its namespaces and its
log stay.

What the next life needs goes through a file in memory, since the key must not be seen in an argument. It holds plain
values only, because the code that reads it may be of another version; a file's text is read by the new code.

A life that cannot begin with a file on trial begins once more with the one before.
"""

import os
import pickle
import sys
import traceback
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

from understudy.agent.options import AgentOptions
from understudy.errors import EnvironmentFailure, OperatorError

if TYPE_CHECKING:
    from understudy.agent.trial import Trial

SIZE_MAX = 64 << 20
_APART = {"plan", "draining"}
"""Values of options that are told otherwise: the plan as a text or a pickle, what drains by the node's store."""


@dataclass(frozen=True, slots=True)
class Again:
    """What to be from now on."""

    options: AgentOptions
    name: str = ""
    """Of the file, for messages."""
    text: bytes = b""
    """Of the file; empty: the plan of `options`."""
    before: AgentOptions | None = None
    """What to go back to, if the file is on trial."""
    deadline: float = 0.0
    """Of the trial, on the monotonic clock."""

    def packed(self) -> bytes:
        return pickle.dumps(
            {
                "options": _plain(self.options),
                "before": None if self.before is None else _plain(self.before),
                "name": self.name,
                "text": self.text,
                "deadline": self.deadline,
            }
        )

    @classmethod
    def unpacked(cls, data: bytes) -> "Again":
        """Raises OperatorError if the text has problems; anything if the other version's plan cannot be understood."""
        found: dict[str, Any] = pickle.loads(data)  # noqa: S301 -- our own memory, before the exec
        before = None if found["before"] is None else _options(found["before"])
        return cls(_options(found["options"], found["text"]), found["name"], found["text"], before, found["deadline"])

    def execute(self) -> NoReturn:
        """Become it. Every child has ended, and nothing of this life is in the kernel."""
        descriptor = os.memfd_create("understudy-again", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(self.packed())
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.set_inheritable(descriptor, True)
        sys.stdout.flush()
        sys.stderr.flush()
        # -P: the directory that the agent was started in is no place to import from.
        os.execv(sys.executable, [sys.executable, "-P", "-m", "understudy.agent.again", str(descriptor)])  # noqa: S606


def _plain(options: AgentOptions) -> dict[str, Any]:
    values = {field.name: getattr(options, field.name) for field in fields(options) if field.name not in _APART}
    return {**values, "node": str(options.node), "plan": pickle.dumps(options.plan)}


def _options(values: dict[str, Any], text: bytes = b"") -> AgentOptions:
    """What this version knows of `values`; what it does not find has its default."""
    from understudy.config import load_plan

    plan = load_plan(text) if text else pickle.loads(values["plan"])  # noqa: S301 -- as above
    known = {field.name for field in fields(AgentOptions)} - _APART
    return AgentOptions(plan=plan, **{name: value for name, value in values.items() if name in known})


def main(descriptor: int) -> None:
    """The first thing of the new life."""
    from understudy.agent.supervisor import run
    from understudy.agent.trial import Trial

    with os.fdopen(descriptor, "rb") as file:
        data = file.read(SIZE_MAX)
    trial: Trial | None = None
    try:
        again = Again.unpacked(data)
        trial = Trial(again.before, again.deadline, restarts=True)
        run(again.options, trial)
    except Exception as error:
        # The broad handler of this life: whatever keeps it from beginning, the one before is tried.
        known = isinstance(error, OperatorError | EnvironmentFailure)
        sys.stderr.write(f"{error}\n" if known else traceback.format_exc())
        _go_back(data, trial)


def _go_back(data: bytes, trial: "Trial | None") -> NoReturn:
    """To what a trial that is not over would go back to, without a trial; `trial` is None if this life never got so
    far. Ends the process if there is nothing, or if it is of no use either.
    """
    try:
        values = pickle.loads(data)["before"] if trial is None else None  # noqa: S301 -- as above
        before = trial.before if trial is not None else None if values is None else _options(values)
        if before is not None:
            sys.stderr.write("the file on trial is of no use to this node: it begins with the one before\n")
            Again(before).execute()
    except Exception:
        sys.stderr.write(traceback.format_exc())
    sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
