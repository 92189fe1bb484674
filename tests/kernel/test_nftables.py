"""The libnftables facade on the real kernel: one transaction, our tables only, a diff of what would change."""

import pytest
from nft_bed import PAIR, Machine, bed, in_sandbox

from understudy.adapters.nftables import Nft
from understudy.config import load_plan
from understudy.doctor.ruleset import ruleset_difference
from understudy.errors import EnvironmentFailure
from understudy.render import grant_lease, pair_changes, render_node, revoke_lease
from understudy.render.text import in_parts
from understudy.units import SECOND
from understudy.wire.marks import BINDING_SHIFT


def test_a_text_that_fails_changes_nothing_and_says_why() -> None:
    """All of a text or none of it; the error is the library's own sentence."""

    def story() -> tuple[str, str]:
        with Nft() as nft:
            with pytest.raises(EnvironmentFailure) as failure:
                nft.run("add table inet understudy\nadd rule inet understudy nowhere drop\n")
            return nft.run("list tables\n"), str(failure.value)

    listing, reason = in_sandbox(story)
    assert listing == ""
    assert "No such file or directory" in reason


def test_applying_changes_nothing_the_second_time_and_the_diff_is_empty() -> None:
    """What the kernel holds after `apply` is what the plan wants; leases and servers that are down do not count."""

    def story() -> list[str]:
        world = bed()
        gateway, service = world.gateways["gw1"], world.plan.services[0]
        everyone = frozenset(server.binding for server in service.servers)
        seen = []

        def difference() -> None:
            seen.append(gateway.machine.run(ruleset_difference, gateway.config.ruleset))

        difference()
        gateway.nft.apply(gateway.config.ruleset)
        gateway.nft.run(grant_lease(1, 60 * SECOND))
        gateway.nft.run(pair_changes(world.plan, service, everyone, everyone - {service.servers[0].binding}))
        difference()
        return seen

    assert in_sandbox(story) == ["", ""]


def test_the_diff_names_what_is_missing_extra_or_different() -> None:
    """A lost element, a foreign rule in our chain and a lost table are each told; other tables are none of ours."""
    number = load_plan(PAIR).services[0].servers[0].binding << BINDING_SHIFT

    def story() -> list[str]:
        gateway = bed().gateways["gw1"]
        wanted = gateway.config.ruleset
        seen = []
        for change in (
            f"delete element inet understudy servers4 {{ {number:#x} }}\n",
            "add rule inet understudy input tcp dport 22 drop\n",
            "delete table netdev understudy\n",
            "add table inet other\n",
        ):
            gateway.nft.apply(wanted)
            gateway.nft.run(change)
            seen.append(gateway.machine.run(ruleset_difference, wanted))
        return seen

    element, rule, table, other = in_sandbox(story)
    assert f"+\t\t\t{number:#010x} : 10.9.0.11 . 8080\n" in element
    assert "-\t\ttcp dport 22 drop\n" in rule
    assert "+table netdev understudy {\n" in table
    assert other == ""


def test_a_lease_is_revoked_whether_it_is_there_or_not() -> None:
    """Revoking twice is no error, and other groups keep theirs."""

    def story() -> list[list[int]]:
        nft = bed().gateways["gw1"].nft
        seen = []
        for text in (grant_lease(1, SECOND), grant_lease(2, SECOND), revoke_lease(1), revoke_lease(1)):
            nft.run(text)
            seen.append(sorted(nft.leases()))
        return seen

    assert in_sandbox(story) == [[1], [1, 2], [2], [2]]


def test_there_are_no_leases_where_there_is_no_table() -> None:
    """A node that never ran answers the question as well."""

    def story() -> tuple[dict[int, int], str]:
        with Nft() as nft:
            return dict(nft.leases()), nft.list_table("inet")

    assert in_sandbox(story) == ({}, "")


def test_an_instance_stays_in_the_namespace_in_which_it_was_made() -> None:
    """The caller may leave; its commands go on acting there."""

    def story() -> tuple[bool, bool]:
        world = bed()
        with Nft() as here:
            return bool(here.list_table("inet")), bool(world.gateways["gw2"].nft.list_table("inet"))

    assert in_sandbox(story) == (False, True)


def test_a_thousand_services_load_and_one_server_change_touches_one_service() -> None:
    """All shapes share their slots; the change of one server is a handful of elements."""
    plan = load_plan(
        PAIR.split(b"services:")[0]
        + b"services:\n"
        + b"".join(
            b"  s%d: {listen: '203.0.113.10:%d', servers: ['web1:%d', 'web2:%d', 'web3:%d'], check: tcp}\n"
            % (n, 1000 + n, 2000 + n, 2000 + n, 2000 + n)
            for n in range(1000)
        )
    )

    def story() -> tuple[int, int]:
        machine = Machine.new("gw1")
        machine.sh("ip link add outside type bridge\nip link add inside type bridge")
        nft = machine.run(Nft)
        nft.apply(render_node(plan, plan.groups[0].nodes[0]).ruleset)
        service = plan.services[500]
        up = frozenset(server.binding for server in service.servers)
        text = pair_changes(plan, service, up, up - {service.servers[0].binding})
        nft.run(text)
        return nft.run("list map inet understudy pairs4\n").count(" : 0x"), text.count(" : 0x")

    assert in_sandbox(story) == (6000, 2)


def test_a_text_in_parts_means_the_same() -> None:
    """Where the kernel takes no long message, the text goes in parts; what the kernel holds afterwards is the same."""

    def story() -> tuple[int, str]:
        gateway = bed().gateways["gw1"]
        gateway.nft.apply("")
        parts = in_parts(gateway.config.ruleset, 500)
        for part in parts * 2:
            gateway.nft.run(part)
        return len(parts), gateway.machine.run(ruleset_difference, gateway.config.ruleset)

    parts, difference = in_sandbox(story)
    assert parts > 9
    assert difference == ""
