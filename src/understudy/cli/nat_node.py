"""Asking a node about its NAT: which node, and how. Without an agent, this namespace itself (`--here`)."""

import json
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from understudy.errors import OperatorError


def ask_node(
    question: dict[str, Any],
    *,
    node: str | None,
    run_dir: Path | None,
    config: Path | None,
    here: bool,
) -> dict[str, Any]:
    """The answer, with `node`. The Active is asked where none is named. Raises OperatorError."""
    if config is not None:
        question = {**question, "config": read_lines(config)}
    if here:
        from understudy.agent.nat_orders import answered

        if config is None:
            raise OperatorError("E7126", "--here needs the lines of this router", "name them with --config FILE.ios")
        return _taken({**answered(json.dumps(question).encode(), None), "node": "here"})
    from understudy.agent import client

    path, name = _choose(client.find(run_dir, node, of_one_cluster=True), active=question["do"] == "clear")
    reply = client.order(path.parent, "nat", "question", json.dumps(question).encode())
    return _taken({**reply, "node": name})


def _choose(found: list[tuple[Path, dict[str, Any]]], *, active: bool) -> tuple[Path, str]:
    """The node that serves, if several answer; `active`: no other will do. Raises OperatorError."""
    able = [(path, status) for path, status in found if "error" not in status]
    serving = [each for each in able if any(group["role"] == "active" for group in each[1]["groups"])]
    if active and not serving:
        hint = "without --node the Active is asked; it tells the standby"
        raise OperatorError("E7128", "a standby's entries are copies: they are cleared where they are made", hint)
    path, status = (serving or able)[0]
    return path, str(status["node"])


def _taken(reply: dict[str, Any]) -> dict[str, Any]:
    wrong = reply.get("refused") or reply.get("error")
    if isinstance(wrong, dict):
        raise OperatorError(str(wrong["code"]), str(wrong["message"]), str(wrong.get("hint", "")))
    if wrong:
        raise OperatorError("E5303", f"{reply['node']}: {wrong}", "look at its journal")
    return reply


def read_given(path: Path) -> bytes:
    """A file, or standard input for `-`; a byte more than may be read at most. Raises OperatorError E7106."""
    from understudy.ios.reader import TEXT_MAX

    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as stream:
            return stream.read(TEXT_MAX + 1)
    except OSError as error:
        raise OperatorError("E7106", f"cannot read {path}: {error.strerror}") from error


def read_lines(path: Path) -> str:
    """Lines that were checked, as text. Raises OperatorError E7101, E7102, E7103 or E7106."""
    from understudy.ios.encoding import decode_text
    from understudy.ios.reader import read_bytes

    data = read_given(path)
    read_bytes(data, str(path))
    return decode_text(data)


def read_end(text: str, code: str, hint: str) -> tuple[IPv4Address, int | None]:
    """An address, with a port or without. Raises OperatorError `code`."""
    address, colon, port = text.partition(":")
    try:
        if colon and not (port.isdecimal() and int(port) < 65_536):
            raise ValueError(port)
        return IPv4Address(address), int(port) if colon else None
    except ValueError:
        raise OperatorError(code, f"{text!r} is no ADDRESS:PORT", hint) from None
