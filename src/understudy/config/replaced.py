"""A small file that is replaced as a whole: whoever reads it meanwhile, or after a power loss, finds the old content or
the new one.

The content is on the disk before it has the name, and the name before it is claimed.
"""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Readable by its owner alone, who stays the one that it has; a link stays one. Raises OSError, and the old content
    stays then. One at a time: two would write one temporary file.
    """
    target = path.resolve()
    os.replace(_written(target, text, "new"), target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def rehearse_file(path: Path, text: str) -> None:
    """As `replace_file`, also beside one, but the old content stays: for those who must know beforehand."""
    _written(path.resolve(), text, "rehearsal").unlink()


def _written(target: Path, text: str, what: str) -> Path:
    """A file beside the target, on the disk."""
    temporary = target.with_name(f".{target.name}.{what}")
    temporary.unlink(missing_ok=True)  # Of a process that was cut short; also O_EXCL follows no link.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            with contextlib.suppress(FileNotFoundError):
                owner = target.stat()
                if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
