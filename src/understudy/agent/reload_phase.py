"""How far a change of a node's file is, and how long each part of it may last."""

from enum import Enum

PREPARE_TIMEOUT_S = 30.0
APPLY_TIMEOUT_S, UNDO_TIMEOUT_S = 2.5, 1.0
"""Together less than the four of its seconds after which the core takes hands that say nothing for dead."""


class Phase(Enum):
    IDLE = "idle"
    PREPARING = "preparing"
    APPLYING = "applying"
    UNDOING = "undoing"
