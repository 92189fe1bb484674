"""What to try with a record that goes into this kernel, and what next when the kernel refuses: a table."""

import errno
from enum import Enum, auto
from typing import Final

from understudy.core.replication.events import Kind


class Try(Enum):
    """What to do with a record."""

    CREATE = auto()
    ADOPT = auto()
    """Create again: the master may have come with the same batch."""
    ORPHAN = auto()
    """Create without master."""
    UPDATE = auto()
    REPLACE = auto()
    """Delete what has its original tuple, then create."""
    LOOK = auto()
    """Ask for what has its original tuple."""
    LOOK_REPLY = auto()
    """Ask for what has its reply tuple."""
    CLEAR = auto()
    """Delete what has its reply tuple, then create."""
    LOOK_BEFORE_DELETE = auto()
    DELETE = auto()
    LOOK_MASTER = auto()
    """Ask for the flow in which it was announced."""
    LOOK_MASTER_AGAIN = auto()
    """It may have come with the same batch."""
    EXPECT = auto()
    EXPECT_AGAIN = auto()
    """The master may have come with the same batch."""
    LOOK_EXPECTED = auto()
    """Ask for what has its tuple."""
    LOOK_ITS_MASTER = auto()
    """And for the flow in which that was announced."""
    UNEXPECT = auto()
    DONE = auto()
    REFUSED = auto()


FIRST: Final = {Kind.EXPECTED: Try.LOOK_MASTER, Kind.UNEXPECTED: Try.LOOK_EXPECTED}
ALLOWED: Final = {
    Try.LOOK_BEFORE_DELETE: Try.DELETE,
    Try.LOOK_REPLY: Try.CLEAR,
    Try.LOOK_MASTER: Try.EXPECT,
    Try.LOOK_MASTER_AGAIN: Try.EXPECT,
    Try.LOOK_ITS_MASTER: Try.UNEXPECT,
}
"""What follows a look at a flow that is of a shared group."""
LOOKS: Final = frozenset((Try.LOOK, Try.LOOK_EXPECTED, *ALLOWED))
NOT_SHARED: Final = "of no shared group"
AFTER: Final[dict[tuple[Try, int], Try]] = {
    (Try.CREATE, errno.EEXIST): Try.LOOK,
    (Try.CREATE, errno.ENOENT): Try.ADOPT,
    (Try.CREATE, errno.EAGAIN): Try.CREATE,
    (Try.ADOPT, errno.EEXIST): Try.LOOK,
    (Try.ADOPT, errno.ENOENT): Try.ORPHAN,
    (Try.ORPHAN, errno.EEXIST): Try.LOOK,
    (Try.UPDATE, errno.ENOENT): Try.CREATE,
    (Try.UPDATE, errno.EAGAIN): Try.UPDATE,
    # A flag would have to be taken back: it is another flow with the same tuples.
    (Try.UPDATE, errno.EBUSY): Try.REPLACE,
    (Try.UPDATE, errno.EOPNOTSUPP): Try.REPLACE,
    (Try.UPDATE, errno.EPERM): Try.REPLACE,  # a copy whose timeout is fixed
    (Try.REPLACE, errno.EEXIST): Try.LOOK_REPLY,
    (Try.REPLACE, errno.ENOENT): Try.ORPHAN,
    (Try.LOOK, errno.ENOENT): Try.LOOK_REPLY,
    (Try.LOOK_REPLY, errno.ENOENT): Try.CREATE,
    (Try.CLEAR, errno.ENOENT): Try.ORPHAN,
    (Try.LOOK_BEFORE_DELETE, errno.ENOENT): Try.DONE,
    (Try.DELETE, errno.ENOENT): Try.DONE,
    (Try.LOOK_MASTER, errno.ENOENT): Try.LOOK_MASTER_AGAIN,
    (Try.EXPECT, errno.ENOENT): Try.EXPECT_AGAIN,
    (Try.EXPECT, errno.EEXIST): Try.DONE,
    (Try.EXPECT_AGAIN, errno.EEXIST): Try.DONE,
    (Try.LOOK_EXPECTED, errno.ENOENT): Try.DONE,
    (Try.UNEXPECT, errno.ENOENT): Try.DONE,
}
"""What is not here is refused."""
ENDS: Final = (Try.LOOK_BEFORE_DELETE, Try.DELETE, Try.LOOK_EXPECTED, Try.UNEXPECT)
