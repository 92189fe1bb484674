"""The cluster's key: 32 random bytes that all nodes share, and nobody else.

One line of text, `understudy-key-1 BASE64`; the first word names the format, so that a later one can be told apart.
The channel derives what it needs from these bytes; they are never used as they are.
"""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from understudy.errors import OperatorError

KEY_SIZE = 32
FORMAT = "understudy-key-1"
_TEXT_MAX = 4096


def create_key(path: Path) -> None:
    """Write a fresh key that only its owner can read. Raises OperatorError, also if the file exists."""
    text = f"{FORMAT} {base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode()}\n"
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
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def load_key(path: Path) -> bytes:
    """The 32 bytes of a key file. Raises OperatorError, also if anybody but the owner may read or write the file."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_TEXT_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OperatorError("E2701", f"{path} cannot be read: {reason}", "`understudy keygen` writes a key") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"{path} has mode {stat.S_IMODE(mode):04o}, others than its owner can get at the key"
        raise OperatorError("E2702", message, f"chmod 600 {path}, and a new key if others may have read it")
    return parse_key(text, path)


def parse_key(text: bytes, path: Path) -> bytes:
    """The 32 bytes in a key file's text. Raises OperatorError."""
    words = text.split()
    if len(words) == 2 and words[0] == FORMAT.encode():
        try:
            key = base64.b64decode(words[1], validate=True)
        except binascii.Error:
            key = b""
        if len(key) == KEY_SIZE:
            return key
    hint = f"one line: {FORMAT} and 32 bytes in base64, as `understudy keygen` writes it"
    raise OperatorError("E2703", f"{path} is not an Understudy key", hint)
