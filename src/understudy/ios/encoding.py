"""Bytes of a file as text: UTF-8, UTF-16 as terminals of Windows save it, or Latin-1 of former times."""

from understudy.errors import OperatorError

_STRANGE = "\0\x01\x02\ufffd"


def decode_text(data: bytes) -> str:
    """Never fails: `read_as_text` tells what is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_as_text(data: bytes, where: str, expected: str) -> str:
    """Raises OperatorError E7102 with the line that is no text."""
    text = decode_text(data)
    strange = [at for at in map(text.find, _STRANGE) if at >= 0]
    if strange:
        line = text.count("\n", 0, min(strange)) + 1
        raise OperatorError("E7102", f"{where}: line {line} is not text", f"expected {expected}")
    return text
