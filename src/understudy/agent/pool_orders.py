"""The way to the process that hands out addresses: "give this one back", and how many entries went.

    question   1 if one address is meant, 0 for all | address 4
    answer     entries that went 4

The answer comes when the kernel's maps have them no more: what began by them can be ended then, and is not begun again.
"""

import struct
from collections.abc import Callable

from understudy.agent.local_end import LocalEnd, ask

PATIENCE_S = 10.0
"""All entries of a large table take seconds."""
_NAME = b"understudy-pools"
_ADDRESS = struct.Struct("!BI")
_COUNT = struct.Struct("!I")


class PoolOrders(LocalEnd):
    """The receiving end."""

    def __init__(self) -> None:
        super().__init__(_NAME, _ADDRESS.size, _COUNT.size)

    def carry_out(self, clear: Callable[[int | None], int]) -> None:
        """`clear` takes an address, or all of them, back, and says how many entries went."""
        for question, asker in self.read():
            if len(question) == _ADDRESS.size:
                one, address = _ADDRESS.unpack(question)
                self.answer(asker, _COUNT.pack(clear(address if one else None)))


def give_back(address: int | None) -> int | None:
    """How many entries went; None if nobody hands out addresses in this namespace. Raises TimeoutError where somebody
    does and says nothing: what became of it is not known then.
    """
    try:
        answer = ask(_NAME, _ADDRESS.pack(address is not None, address or 0), _COUNT.size, PATIENCE_S)
    except ConnectionRefusedError:
        return None
    if answer is None or len(answer) != _COUNT.size:
        raise TimeoutError
    return int(_COUNT.unpack(answer)[0])
