"""What a client of the reload socket may say: every nonsense is answered, and none ends the process that reads it."""

import json
import socket

import pytest

from understudy.agent.requests import Request, read_request
from understudy.errors import OperatorError


def read(head: str, body: bytes = b"") -> Request:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head.encode() + b"\n" + body)
        theirs.shutdown(socket.SHUT_WR)
        return read_request(ours)


def test_a_request_is_read_as_it_was_said() -> None:
    """Control of all that follows."""
    head = json.dumps({"command": "reload", "name": "a.yaml", "size": 4, "trial_s": 2, "drain_s": 0})
    said = Request("a.yaml", b"text", trial_s=2.0, drain_s=0.0)
    assert read(head, b"text") == said


@pytest.mark.parametrize(
    "fields",
    [
        '"size": 1e999',
        '"size": -1',
        '"size": "many"',
        '"size": 0, "trial_s": 1e999',
        f'"size": 0, "trial_s": 1{"0" * 400}',
        '"size": 0, "trial_s": NaN',
        f'"size": 0, "drain_s": 1{"0" * 400}',
        '"size": 0, "drain_s": -1',
        '"size": 9',
        "",
    ],
)
def test_numbers_that_are_none_are_refused(fields: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read('{"command": "reload", "name": "a"' + (", " + fields if fields else "") + "}", b"text")
    assert caught.value.code == "E5233"
