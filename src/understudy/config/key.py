"""The cluster's key: 32 random bytes that all nodes share, and nobody else.

One line of text, `understudy-key-1 BASE64`; the first word names the format, so that a later one can be told apart.
The channel derives what it needs from these bytes; they are never used as they are.

A file may hold several lines while a key is replaced: a node seals with the first and opens with any, so that nodes
take the steps at their own time and never miss a datagram of each other:

    keygen --rotate     a fresh key as the second line; to every node, and only then
    keygen --promote    the second comes first; to every node, and only then
    keygen --retire     nothing but the first is left; to every node
"""

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from understudy.config.replaced import replace_file
from understudy.errors import OperatorError

KEY_SIZE = 32
FORMAT = "understudy-key-1"
KEYS_MAX = 4
_TEXT_MAX = 4096


def create_key(path: Path) -> None:
    """Write a fresh key that only its owner can read. Raises OperatorError, also if the file exists."""
    try:
        # O_EXCL and the mode in one call: at no moment is there a key that others could read, or a key lost.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        hint = "every node needs the same key; copy this one, or remove it to begin anew"
        raise OperatorError("E2704", f"{path} exists and is not overwritten", hint) from None
    except OSError as error:
        hint = (
            f"make the directory first: install -d {path.parent}"
            if not path.parent.exists()
            else "choose another place"
        )
        raise OperatorError("E2701", f"{path} cannot be written: {error.strerror}", hint) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(_text([secrets.token_bytes(KEY_SIZE)]))
        stream.flush()
        os.fsync(stream.fileno())


def load_key(path: Path) -> bytes:
    """The key that a node seals with. Raises OperatorError as `load_keys` does."""
    return load_keys(path)[0]


def load_keys(path: Path) -> tuple[bytes, ...]:
    """The keys of a file, 32 bytes each. Raises OperatorError, also if anybody but the owner may read or write it."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_TEXT_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OperatorError("E2701", f"{path} cannot be read: {reason}", "`understudy keygen` writes a key") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"{path} has mode {stat.S_IMODE(mode):04o}, others than its owner can get at the key"
        raise OperatorError("E2702", message, f"chmod 600 {path}, and a new key if others may have read it")
    return parse_keys(text, path)


def parse_keys(text: bytes, path: Path) -> tuple[bytes, ...]:
    """The keys in a file's text. Raises OperatorError: a file of which one line is damaged counts for nothing."""
    keys: list[bytes] = []
    lines = [(number, line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]
    if not lines or len(text) > _TEXT_MAX:
        raise _damaged(f"{path} is not an Understudy key: it is {'too long' if lines else 'empty'}")
    for number, line in lines:
        key = _parse_line(line)
        if key is None:
            raise _damaged(f"{path} is not an Understudy key: line {number} is damaged")
        if key in keys:
            raise _damaged(f"{path} is not an Understudy key: line {number} repeats line {lines[keys.index(key)][0]}")
        keys.append(key)
    if len(keys) > KEYS_MAX:
        raise OperatorError("E2703", f"{path} holds {len(keys)} keys, at most {KEYS_MAX}", "understudy keygen --retire")
    return tuple(keys)


def rotate(path: Path) -> int:
    """Add a fresh key behind the first line; the number of keys. Raises OperatorError, and has changed nothing then."""
    with _alone(path):
        first, *others = load_keys(path)
        if others:
            hint = "finish that change first: --promote, then --retire; each on every node before the next"
            raise OperatorError("E2706", f"{path} holds {len(others) + 1} keys already", hint)
        return _replace(path, [first, secrets.token_bytes(KEY_SIZE)])


def promote(path: Path) -> int:
    """The second key comes first. Raises OperatorError as `rotate` does."""
    with _alone(path):
        keys = load_keys(path)
        if len(keys) < 2:
            raise OperatorError("E2706", f"{path} holds one key only", "add one first: understudy keygen --rotate")
        return _replace(path, [keys[1], keys[0], *keys[2:]])


def retire(path: Path) -> int:
    """Only the first key is left. Raises OperatorError as `rotate` does."""
    with _alone(path):
        keys = load_keys(path)
        if len(keys) < 2:
            raise OperatorError("E2706", f"{path} holds one key only", "there is none to drop")
        return _replace(path, keys[:1])


def _parse_line(line: bytes) -> bytes | None:
    words = line.split()
    if len(words) != 2 or words[0] != FORMAT.encode():
        return None
    try:
        key = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        return None
    return key if len(key) == KEY_SIZE else None


def _damaged(message: str) -> OperatorError:
    hint = f"each line: {FORMAT} and 32 bytes in base64, as `understudy keygen` writes it; copy another node's file"
    return OperatorError("E2703", message, hint)


def _text(keys: Sequence[bytes]) -> str:
    return "".join(f"{FORMAT} {base64.b64encode(key).decode()}\n" for key in keys)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One change of the file at a time: two would write one temporary file. Ends with the process that holds it."""
    try:
        directory = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, RuntimeError):
        yield  # There is no such place: what reads the file says so.
        return
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "nothing was done: see what the other one did"
            raise OperatorError("E2706", f"another command is changing {path}", hint) from None
        except OSError:
            pass  # A file system without locks: whoever is alone there stays so.
        yield
    finally:
        os.close(directory)


def _replace(path: Path, keys: Sequence[bytes]) -> int:
    """At once and for good."""
    try:
        replace_file(path, _text(keys))
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise OperatorError("E2701", message, "it is as it was; run this as its owner") from None
    return len(keys)
