"""The node's store: what must survive a restart. One small file."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from understudy.config.replaced import rehearse_file, replace_file
from understudy.errors import EnvironmentFailure

EPOCHS_RESERVED = 1000
_EPOCH_BEGIN = 1_767_225_600  # 2026-01-01: a lost store still yields an epoch beyond every earlier one.


@dataclass(frozen=True, slots=True)
class Stored:
    epoch: int = 0
    maintenance: bool = False


class Store:
    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Stored:
        """What was saved last; a missing or damaged file counts as empty."""
        try:
            data = json.loads(self._path.read_text())
            return Stored(epoch=int(data["epoch"]), maintenance=bool(data["maintenance"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Stored()

    def save(self, stored: Stored) -> None:
        """Raises EnvironmentFailure; the old content stays then."""
        try:
            replace_file(self._path, _text(stored))
        except OSError as error:
            raise EnvironmentFailure("write the store", str(self._path), os.strerror(error.errno or 0)) from error

    def rehearse(self) -> None:
        """As `save`, but nothing is another one then: for those who must know beforehand. Raises EnvironmentFailure."""
        try:
            rehearse_file(self._path, _text(self.load()))
        except OSError as error:
            raise EnvironmentFailure("write the store", str(self._path), os.strerror(error.errno or 0)) from error

    def next_epoch(self) -> Stored:
        """Begin a new epoch, greater than any before, and save where the next one begins.

        A core that is forked anew counts on from it without writing; `EPOCHS_RESERVED` are set aside for that.
        """
        before = self.load()
        epoch = max(before.epoch, int(time.time()) - _EPOCH_BEGIN) & 0xFFFF_FFFF
        stored = Stored(epoch, before.maintenance)
        self.save(Stored(epoch + EPOCHS_RESERVED, before.maintenance))
        return stored


def _text(stored: Stored) -> str:
    return json.dumps(asdict(stored))
