"""Flows go over the network in trains: many datagrams a send and a receive, and each of them as if it were alone."""

import errno
import select
import socket
import time
from ipaddress import ip_address
from typing import Any

import pytest
from sandboxed import in_sandbox, shell

from understudy.adapters import sieve
from understudy.adapters.channel import FLOWS_PORT, MAGIC
from understudy.adapters.datagram import ChannelSocket
from understudy.adapters.sieve import BUDGET, Kind

KEY_ID = b"key1"
PAIRS = [("127.0.0.1", "127.0.0.2"), ("fd00::1", "fd00::2")]


def datagrams(sizes: list[int], opening: bytes = MAGIC + KEY_ID) -> list[bytes]:
    """Of these sizes, each with a content of its own."""
    return [opening + number.to_bytes(2, "big") * ((size - 8) // 2) for number, size in enumerate(sizes)]


def pair(own: str, peer: str) -> tuple[ChannelSocket, ChannelSocket]:
    shell("ip link set lo up")
    if ":" in own:
        shell(f"ip addr add {own}/128 dev lo nodad\n ip addr add {peer}/128 dev lo nodad")
    here, there = (ip_address(each) for each in (own, peer))
    return (
        ChannelSocket(here, "lo", there, KEY_ID, port=FLOWS_PORT),
        ChannelSocket(there, "lo", here, KEY_ID, port=FLOWS_PORT),
    )


def received(end: ChannelSocket, wanted: int = 0) -> tuple[list[bytes], int]:
    """All that is there, and in how many receives. What is wanted may come a moment later."""
    found: list[bytes] = []
    for count in range(1000):
        if not select.select([end], [], [], 3 if len(found) < wanted else 0)[0]:
            return found, count
        found += end.receive()
    raise AssertionError("no end")


@pytest.mark.parametrize(("own", "peer"), PAIRS)
def test_a_train_arrives_as_its_datagrams(own: str, peer: str) -> None:
    """Equal sizes, a shorter last one, sizes up and down, more than one train holds: all of them, in order."""

    def story() -> None:
        here, there = pair(own, peer)
        with here, there:
            trains(here, there)

    def trains(here: ChannelSocket, there: ChannelSocket) -> None:
        for sizes in ([1348] * 10 + [200], [100], [60, 1348, 1348, 80, 80, 1348], [1348] * 95):
            sent = datagrams(sizes)
            here.send_all(sent, peer)
            found, count = received(there, len(sent))
            assert found == sent
            if len(set(sizes[:10])) == 1 and len(sizes) > 1:
                assert count < len(sizes) / 5  # the control: they did come together

    in_sandbox(story)


def test_where_the_kernel_makes_no_trains_all_go_one_by_one() -> None:
    """Refused once, it is not tried again; an error that says something else is the caller's."""

    class Refused(ChannelSocket):
        tried = 0
        refusal = errno.EIO

        def sendmsg(self, *args: Any) -> int:
            self.tried += 1
            raise OSError(self.refusal, "")

    def story() -> None:
        shell("ip link set lo up")
        here = Refused(ip_address("127.0.0.2"), "lo", ip_address("127.0.0.1"), KEY_ID, port=FLOWS_PORT)
        with here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.bind(("127.0.0.3", FLOWS_PORT))
            plain.settimeout(3)
            sent = datagrams([500] * 6)
            here.send_all(sent, "127.0.0.3")
            here.send_all(sent, "127.0.0.3")
            assert [plain.recv(2000) for _ in range(12)] == sent * 2
            assert here.tried == 1
            here.refusal, here._together = errno.ENOBUFS, True
            with pytest.raises(OSError, match=str(errno.ENOBUFS)):
                here.send_all(sent, "127.0.0.3")

    in_sandbox(story)


def test_each_datagram_of_a_strangers_train_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A train from another address, or with another key, has the strangers' budget and no more.

    The sieve's clock stands still: the budget is that of one second, however long the story takes.
    """

    def story() -> None:
        here, there = pair(*PAIRS[0])
        stranger = ChannelSocket(ip_address("127.0.0.9"), "lo", ip_address("127.0.0.1"), KEY_ID, port=FLOWS_PORT)
        budget, began = BUDGET[Kind.OTHER_FLOWS], time.monotonic_ns()
        found: list[bytes] = []
        monkeypatch.setattr(sieve.time, "monotonic_ns", lambda: began)
        with here, there, stranger:
            for _ in range(budget // 40 + 10):
                stranger.send_all(datagrams([1348] * 40), "127.0.0.2")
                found += received(there)[0]
            assert len(found) <= budget
            assert there.sieve.shed

    in_sandbox(story)
