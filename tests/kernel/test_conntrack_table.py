"""Writing into a kernel that has it already, or not any more, or something else; listing, renewing, counting."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from flow_bed import MARK, Kernel
from nft_bed import in_sandbox

from understudy.adapters import conntrack_writer
from understudy.adapters.conntrack import FlowTable
from understudy.adapters.conntrack_tries import NOT_SHARED
from understudy.adapters.conntrack_writer import FlowWriter
from understudy.core.replication.events import Kind, Record
from understudy.wire import conntrack
from understudy.wire.conntrack import Flow, Tcp, Tuple, build

CLIENT, VIRTUAL, WEB1, WEB2 = (ip_address(each) for each in ("198.51.100.9", "203.0.113.10", "10.9.0.11", "10.9.0.12"))
ASSURED = 0xE


def flow(port: int = 4711, server: object = WEB1, state: int = 3, status: int = ASSURED, mark: int = MARK) -> Flow:
    """A balanced connection."""
    back = Tuple(server, CLIENT, 6, 8080, port)  # type: ignore[arg-type]  # an address of either family
    return Flow(Tuple(CLIENT, VIRTUAL, 6, port, 80), back, status, 100, mark, Tcp(state, 7, 7, 3, 3))


def changed(*flows: Flow) -> list[Record]:
    return [(Kind.CHANGED, build(each)) for each in flows]


def gone(*flows: Flow) -> list[Record]:
    return [(Kind.GONE, build(each)) for each in flows]


def seen(kernel: Kernel) -> set[tuple[int, object, int]]:
    """Port, server, state of what the kernel lists."""
    return {(each.original.here, each.reply.source, each.tcp.state) for each in kernel.flows().values() if each.tcp}


def in_kernel(story: Callable[[Kernel], None]) -> None:
    in_sandbox(lambda: story(Kernel("replica")))


def test_what_exists_is_updated_by_a_writer_that_does_not_know_it() -> None:
    """A successor's first word on a flow that its predecessor wrote: the same entry, in its new state."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(changed(flow())) == 0
        successor = kernel.machine.run(FlowTable)
        assert successor.write(changed(flow(state=4))) == 0
        assert seen(kernel) == {(4711, WEB1, 4)}
        # It was changed, and not made anew: the kernel tells of no end.
        assert [kind for kind, _ in kernel.records()] == [Kind.CHANGED]

    in_kernel(story)


def test_what_is_missing_is_created_by_a_writer_that_believes_to_know_it() -> None:
    """Somebody's hand has deleted it."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(changed(flow())) == 0
        assert kernel.table.delete(build(flow()))
        assert seen(kernel) == set()
        assert kernel.table.write(changed(flow(state=4))) == 0
        assert seen(kernel) == {(4711, WEB1, 4)}

    in_kernel(story)


def test_the_end_of_what_is_not_there_is_no_error() -> None:
    """And the end of what is there ends it."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(gone(flow())) == 0
        assert kernel.table.write(changed(flow(), flow(4712))) == 0
        assert kernel.table.write(gone(flow())) == 0
        assert seen(kernel) == {(4712, WEB1, 3)}
        assert kernel.table.refusals == {}

    in_kernel(story)


@pytest.mark.parametrize("known", [True, False])
def test_another_flow_with_the_same_original_replaces_the_old_one(known: bool) -> None:
    """The client's port came back and went to another server; the end of the first was lost."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(changed(flow(), flow(4712))) == 0
        writer = kernel.table if known else kernel.machine.run(FlowTable)
        assert writer.write(changed(flow(server=WEB2))) == 0
        assert seen(kernel) == {(4711, WEB2, 3), (4712, WEB1, 3)}

    in_kernel(story)


def test_a_flow_that_begins_anew_replaces_the_old_one() -> None:
    """The same tuples again: the kernel would not take back that the old one was assured."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(changed(flow(state=7))) == 0
        assert kernel.table.write(changed(flow(state=2, status=0xA))) == 0
        (new,) = kernel.flows().values()
        assert new.tcp is not None
        assert new.tcp.state == 2
        assert (new.status or 0) & 0x4 == 0

    in_kernel(story)


def test_who_stands_in_the_way_with_the_reply_is_cleared_if_it_is_of_a_group() -> None:
    """A ghost answers to the tuple that the new flow's server uses: it goes. A flow of the node's own stays."""

    def story(kernel: Kernel) -> None:
        ghost = flow(4711)
        new = replace(ghost, original=replace(ghost.original, here=5000))
        assert kernel.table.write(changed(ghost)) == 0
        assert kernel.table.write(changed(new)) == 0
        assert seen(kernel) == {(5000, WEB1, 3)}
        assert kernel.table.write(gone(new)) == 0
        kernel.have(build(replace(ghost, mark=0)))
        assert kernel.table.write(changed(new)) == 1
        assert kernel.table.refusals == {NOT_SHARED: 1}
        assert kernel.table.count() == 1

    in_kernel(story)


@pytest.mark.parametrize("mark", [0, MARK * 2], ids=["nobody's", "another group's"])
def test_a_peer_touches_no_flow_but_those_of_shared_groups(mark: int) -> None:
    """Neither made, changed, made to be of a shared group, replaced nor ended, whatever the record says of itself; and
    one of the group is.
    """

    def story(kernel: Kernel) -> None:
        table: FlowTable = kernel.machine.run(lambda: FlowTable(groups={1}))
        own, absent = flow(22, mark=mark), flow(23, mark=mark)
        kernel.have(build(own))
        before = [conntrack.portable(raw) for raw in kernel.listed(mark // MARK)]
        claimed = replace(own, mark=MARK)
        records = [
            *changed(absent, own),
            *gone(own),
            *changed(claimed, flow(22, server=WEB2)),
            *gone(claimed, flow(22, server=WEB2)),
        ]
        assert table.write(records) == len(records)
        assert table.refusals == {NOT_SHARED: len(records)}
        after = [conntrack.portable(raw) for raw in kernel.listed(mark // MARK)]
        assert [conntrack.identity(raw) for raw in after] == [conntrack.identity(raw) for raw in before]
        assert [conntrack.mark_of(raw) for raw in after] == [mark] == [conntrack.mark_of(raw) for raw in before]
        assert kernel.table.count() == 1
        assert table.write(changed(flow(24))) == 0
        assert kernel.table.count() == 2
        assert kernel.machine.run(lambda: FlowTable(groups={1})).write(gone(flow(24))) == 0
        assert kernel.table.count() == 1

    in_kernel(story)


def test_a_flow_whose_master_is_missing_comes_alone_and_with_it_if_it_comes_along() -> None:
    """Order within a batch does not matter for it."""

    def story(kernel: Kernel) -> None:
        master, child = flow(21), replace(flow(2000), master=flow(21).original)
        assert kernel.table.write(changed(child)) == 0
        assert [each.master for each in kernel.flows().values()] == [None]
        assert kernel.table.write(gone(child)) == 0
        assert kernel.table.write(changed(child, master)) == 0
        assert {each.master for each in kernel.flows().values()} == {None, master.original}
        # An update must say that it is expected, as the kernel has it.
        assert kernel.table.write(changed(replace(child, master=None, status=ASSURED | 1, tcp=Tcp(4)))) == 0
        assert {each.master for each in kernel.flows().values()} == {None, master.original}
        assert kernel.table.refusals == {}

    in_kernel(story)


def test_what_the_kernel_will_not_take_is_counted_and_the_rest_is_written() -> None:
    """A helper that is not there, a state that there is not, bytes that are no flow, an expectation without master."""

    def story(kernel: Kernel) -> None:
        junk: list[Record] = [(Kind.CHANGED, b"junk"), (Kind.GONE, b""), (Kind.EXPECTED, build(flow()))]
        records = changed(flow(1), replace(flow(2), helper="nonesuch"), flow(3, state=15), flow(4))
        assert kernel.table.write([*junk, *records]) == 5
        assert seen(kernel) == {(1, WEB1, 3), (4, WEB1, 3)}
        assert sum(kernel.table.refusals.values()) == 5
        assert {"create ENOTSUP", "create ERANGE"} < set(kernel.table.refusals)

    in_kernel(story)


def test_news_of_one_flow_keep_their_order_within_a_batch() -> None:
    """Even where the first of them takes several tries."""

    def story(kernel: Kernel) -> None:
        other = kernel.machine.run(FlowTable)
        assert other.write(changed(flow(1, server=WEB2), flow(2, server=WEB2))) == 0
        records = [
            *changed(flow(1), flow(2)),
            *gone(flow(1)),
            *changed(flow(2, state=4)),
            *changed(flow(2, state=7), flow(3)),
            *gone(flow(3)),
            *changed(flow(3, state=4)),
        ]
        assert kernel.table.write(records) == 0
        assert seen(kernel) == {(2, WEB1, 7), (3, WEB1, 4)}

    in_kernel(story)


def test_more_answers_than_the_socket_holds_are_asked_for_again() -> None:
    """A whole batch of refusals through a tiny buffer: every record ends up where it should."""

    def story(kernel: Kernel) -> None:
        assert kernel.table.write(changed(*(flow(port, server=WEB2) for port in range(1, 101)))) == 0
        writer = kernel.machine.run(FlowWriter, conntrack.HOLD_S, conntrack.HALF_OPEN_S, 2048)
        assert writer.write(changed(*(flow(port) for port in range(1, 101)))) == 0
        assert seen(kernel) == {(port, WEB1, 3) for port in range(1, 101)}

    in_kernel(story)


def test_lists_are_of_the_groups_asked_for() -> None:
    """One group, several, none; in parts; and a list that is left in the middle spoils no other."""

    def story(kernel: Kernel) -> None:
        flows = [flow(port, mark=(port % 3) << 10 | 0xFFFF_C000) for port in range(1, 901)]
        assert kernel.table.write(changed(*flows)) == 300  # what is of no group only its own traffic makes
        kernel.have(*map(build, flows[2::3]))
        for groups, count in (({1}, 300), ({1, 2}, 600), ({0}, 300), ({3}, 0), (set(), 0)):
            parts = list(kernel.table.list(groups))
            assert sum(map(len, parts)) == count, groups
            assert all((conntrack.mark_of(raw) >> 10 & 15) in groups for part in parts for raw in part)
        begun = kernel.table.list({1, 2})
        assert next(begun)
        second = kernel.table.list({1, 2})
        assert sum(map(len, second)) == 600
        begun.close()
        assert sum(map(len, kernel.table.list({2}))) == 300
        assert kernel.table.count() == 900
        assert kernel.table.limit() > 900

    in_kernel(story)


def test_untouched_copies_are_renewed_and_others_left_alone() -> None:
    """Those that nobody touched get this namespace's timeouts; a refreshed one and another group's stay."""

    def story(kernel: Kernel) -> None:
        kernel.machine.sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", 7777)
        datagram = replace(
            flow(2), original=Tuple(CLIENT, VIRTUAL, 17, 2, 80), reply=Tuple(WEB1, CLIENT, 17, 8080, 2), tcp=None
        )
        lonely = replace(
            datagram, original=Tuple(CLIENT, VIRTUAL, 17, 3, 80), reply=Tuple(WEB1, CLIENT, 17, 8080, 3), status=0x8
        )
        assert kernel.table.write(changed(flow(1), flow(4, state=4), datagram, lonely, flow(6, mark=MARK * 2))) == 0
        refreshed = kernel.machine.run(lambda: FlowTable(hold_s=50))
        assert refreshed.write(changed(flow(5))) == 0
        assert len(kernel.records()) == 1
        assert kernel.machine.run(lambda: list(kernel.table.renew({1}))) == [4]
        left = {each.original.here: each.timeout or 0 for each in kernel.flows().values()}
        expected = {1: 7777, 2: 120, 3: 30, 4: 120, 5: 50}
        assert left.keys() == expected.keys()
        assert all(expected[port] - 5 < seconds <= expected[port] for port, seconds in left.items())
        (other,) = kernel.flows(2).values()
        assert (other.timeout or 0) > conntrack.UNTOUCHED_S
        assert kernel.machine.run(lambda: sum(kernel.table.renew({1}))) == 0
        assert kernel.records() == []

    in_kernel(story)


class Strange(FlowTable):
    """Its kernel lists, before anything else, what this version does not understand."""

    def _dump(self, kind: int, query: bytes) -> Iterator[list[bytes]]:
        yield [b"junk"]
        yield from super()._dump(kind, query)


def test_an_entry_that_cannot_be_read_keeps_no_other_back() -> None:
    """It is counted: in renewals, in expectations, and in what is recalled of them."""

    def story(kernel: Kernel) -> None:
        table: Strange = kernel.machine.run(Strange)
        assert table.write(changed(flow(1))) == 0
        assert kernel.machine.run(lambda: sum(table.renew({1}))) == 1
        (renewed,) = kernel.flows().values()
        assert (renewed.timeout or 0) < conntrack.UNTOUCHED_S
        assert [raw for part in table.expectations() for raw in part] == []
        assert table.recall({1}) == []
        assert table.unread == 3

    in_kernel(story)


def test_a_writer_remembers_a_bounded_number_of_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the kernel refuses one of every batch, as somebody's hand or a hostile peer can have it."""
    monkeypatch.setattr(conntrack_writer, "KNOWN_MAX", 50)

    def story(kernel: Kernel) -> None:
        writer = kernel.machine.run(FlowWriter, conntrack.HOLD_S, conntrack.HALF_OPEN_S)
        assert writer.write(changed(*(flow(port) for port in range(1, 31)))) == 0
        assert len(writer._known) == 30
        for first in (31, 61, 91):
            refused = flow(first + 5000, state=15)
            assert writer.write(changed(refused, *(flow(port) for port in range(first, first + 30)))) == 1
            assert len(writer._known) <= 50
        assert kernel.table.count() == 120

    in_kernel(story)
