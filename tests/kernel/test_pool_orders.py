"""The way to the process that hands out addresses, within one network namespace."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from nft_bed import in_sandbox

from understudy.adapters.conntrack import FlowTable
from understudy.agent import pool_orders
from understudy.agent.local_end import LocalEnd, ask
from understudy.agent.nat_view import Cleared, clear
from understudy.agent.pool_figures import PoolFigures, ask_figures
from understudy.agent.pool_orders import PoolOrders, give_back
from understudy.ios.asking import Clearing
from understudy.ios.translations import Given
from understudy.lab import sandbox
from understudy.lab.namespace import Namespace
from understudy.lab.natbed import Bed
from understudy.lab.natcases import Step

LINES = """
interface Ethernet0
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface Ethernet1
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
access-list 1 permit 10.9.0.0 0.0.0.255
ip nat pool P 203.0.113.21 203.0.113.23 prefix-length 24
ip nat inside source list 1 pool P
"""


@contextmanager
def answering(end: LocalEnd, answer: Callable[[], None]) -> Iterator[None]:
    """Somebody waits at the end while the body asks."""
    over = threading.Event()

    def wait() -> None:
        while not over.wait(0.01):
            answer()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        end.close()


def test_what_went_is_answered_in_order_and_nobody_is_none() -> None:
    def story() -> tuple[object, ...]:
        before = give_back(1)
        orders, asked = PoolOrders(), list[int | None]()
        assert not orders.bind()

        def clear_(address: int | None) -> int:
            asked.append(address)
            return 3 if address is None else 0

        with answering(orders, lambda: orders.carry_out(clear_)):
            told = give_back(7), give_back(None)
        return before, asked, told, give_back(1)

    assert sandbox.run(story) == (None, [7, None], (0, 3), None)


def test_an_order_that_nobody_answers_is_not_taken_for_done() -> None:
    """As where the process hangs: what became of it is not known."""

    def story() -> None:
        pool_orders.PATIENCE_S = 0.1
        orders = PoolOrders()
        orders.bind()
        try:
            with pytest.raises(TimeoutError):
                give_back(7)
        finally:
            orders.close()

    sandbox.run(story)


def test_who_took_the_name_before_is_not_believed() -> None:
    """Any local user may bind an abstract name first: his answers are passed over, and the journal has the reason."""

    def story() -> tuple[bytes | None, bytes | None, str]:
        def asked(user: int) -> bytes | None:
            end, other = LocalEnd(b"stolen", 16, 16), LocalEnd(b"stolen", 16, 16)
            end.bind()
            nonlocal refused
            refused = other.bind()
            ready, ready_out = os.pipe()
            pid = os.fork()
            if not pid:
                os.setresuid(user, user, user)
                os.write(ready_out, b"x")
                end.socket.setblocking(True)
                _, _, _, asker = end.socket.recvmsg(16)
                end.socket.sendto(b"his own", asker)
                os._exit(0)
            os.read(ready, 1)
            try:
                return ask(b"stolen", b"?", 16, 0.3)
            finally:
                os.waitpid(pid, 0)
                for each in (end, other):
                    each.close()

        refused = ""
        return asked(os.geteuid()), asked(12), refused

    own, stolen, refused = sandbox.run(story)
    assert own == b"his own", "control"
    assert stolen is None
    assert "stolen" in refused


def test_an_answer_of_another_shape_is_no_figures() -> None:
    def story() -> object:
        end = PoolFigures()
        end.bind()

        def answer() -> None:
            for _, asker in end.read():
                end.answer(asker, b"\0\0\0\2[]")

        with answering(end, answer):
            return ask_figures()

    assert sandbox.run(story) is None


def test_what_begins_while_an_address_is_taken_away_is_ended_with_it() -> None:
    """Between the look at the table and the order a host begins another flow by its address; one entry stays."""

    def story() -> None:
        bed = Bed(LINES, ())

        def begins(port: int, host: str = "10.9.0.5") -> None:
            sent = {"src": host, "sport": port, "dst": "203.0.113.9", "dport": 80}
            bed.send(Step(direction="in>out", protocol="tcp", sent=sent, expected={"verdict": "x"}), ())

        def flows() -> int:
            table = FlowTable()
            try:
                return len([raw for part in table.list({0}) for raw in part])
            finally:
                table.close()

        try:
            begins(4000)
            begins(4001, host="10.9.0.6")
            seen = bed.view()
            refused = bed.run(clear, seen, Clearing(), lambda entries, everything: [])
            assert refused.entries == 0
            begins(4000)
            begins(4001, host="10.9.0.6")
            seen = bed.view()

            def release(entries: list[Given], everything: bool) -> list[Given]:
                begins(5000)
                begins(5001, host="10.9.0.6")
                # Of two entries one goes: the process that has them said so.
                return [each for each in entries if str(each.host) == "10.9.0.5"]

            assert bed.run(flows) == 2
            done: Cleared = bed.run(clear, seen, Clearing(), release)
            assert done.entries == 1
            assert bed.run(flows) == 1, "control: what began by an entry that stays goes on"
        finally:
            bed.close()

    in_sandbox(story)


def test_another_namespace_does_not_hear_it() -> None:
    """Control: of the name alone it would be one for the whole machine."""

    def story() -> bool:
        orders = PoolOrders()
        orders.bind()
        other = Namespace.create("other", lambda: None)
        try:
            return other.run(give_back, 7) is None
        finally:
            other.close()
            orders.close()

    assert sandbox.run(story)
