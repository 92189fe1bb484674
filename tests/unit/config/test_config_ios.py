"""Lines of Cisco IOS in the file: which networks they mean, and what becomes of them in the plan."""

from pathlib import Path

import pytest

from understudy.config import carried, load_plan
from understudy.config.plan import IosNat, Plan
from understudy.config.problems import Problems

HEAD = """\
cluster: shop
networks: {{outside: {outside}, inside: 10.9.0.0/24, guests: 10.8.0.0/24, sync: 192.168.250.0/29}}
nodes:
  gw1: {{outside: 203.0.113.1, inside: 10.9.0.1, guests: 10.8.0.1, sync: 192.168.250.1}}
  gw2: {{outside: 203.0.113.2, inside: 10.9.0.2, guests: 10.8.0.2, sync: 192.168.250.2}}
redundancy:
  edge:
    nodes: [gw1, gw2]
    addresses: {{outside: [203.0.113.10, 203.0.113.11], inside: 10.9.0.254, guests: 10.8.0.254}}
"""
OVERLOAD = ["ip nat inside source list 1 interface outside overload", "access-list 1 permit 10.9.0.0 0.0.0.255"]
POOL = ["ip nat pool P 203.0.113.60 203.0.113.69 prefix-length 24", "access-list 1 permit any"]
POOL += ["ip nat inside source list 1 pool P"]
RUNNING = """\
hostname edge
interface GigabitEthernet0/0
 ip address 203.0.113.10 255.255.255.0
 ip nat outside
interface GigabitEthernet0/1
 ip address 10.9.0.254 255.255.255.0
 ip nat inside
interface GigabitEthernet0/2
 ip address 172.31.0.1 255.255.255.0
ip nat inside source list 1 interface GigabitEthernet0/0 overload
access-list 1 permit 10.9.0.0 0.0.0.255
end
"""


def text(nat: str, outside: str = "203.0.113.0/24") -> bytes:
    return (HEAD.format(outside=outside) + nat).encode()


def listed(lines: list[str]) -> str:
    return "nat:\n" + "".join(f"  - {line}\n" for line in lines)


def ios(plan: Plan) -> IosNat:
    assert plan.ios is not None
    return plan.ios


def roles(plan: Plan) -> dict[str, str]:
    return {each.name: "/".join(each.roles) for each in ios(plan).configuration.interfaces}


DEFAULT = {"outside": "outside", "inside": "inside", "guests": "inside"}


@pytest.mark.parametrize(
    ("lines", "outside", "expected"),
    [
        (OVERLOAD, "203.0.113.0/24", DEFAULT),
        (POOL, "203.0.113.0/24", DEFAULT),
        (["ip nat inside source static 10.9.0.11 203.0.113.21"], "203.0.113.0/24", DEFAULT),
        (
            ["ip nat inside source static 10.9.0.11 198.51.100.1"],
            "{prefixes: 203.0.113.0/24, gateway: 203.0.113.254}",
            DEFAULT,
        ),
        (
            ["interface guests", "ip nat inside", "interface outside", "ip nat outside", *OVERLOAD],
            "203.0.113.0/24",
            {"outside": "outside", "inside": "", "guests": "inside"},
        ),
    ],
    ids=["named", "pool", "static", "gateway", "said"],
)
def test_roles_are_those_of_the_lines_or_the_smallest_guess(
    lines: list[str], outside: str, expected: dict[str, str]
) -> None:
    assert roles(load_plan(text(listed(lines), outside))) == expected


def test_an_interface_is_the_groups_address_and_nobodys_own_is_handed_out() -> None:
    nat = ios(load_plan(text(listed(OVERLOAD))))
    held = {each.name: [str(address) for address in each.addresses] for each in nat.configuration.interfaces}
    assert held["outside"] == ["203.0.113.10/24", "203.0.113.11/24"]
    assert {"203.0.113.1", "203.0.113.2", "203.0.113.11"} <= {str(address) for address in nat.reserved}


def test_a_running_configuration_finds_its_networks_by_address(tmp_path: Path) -> None:
    """Interfaces without NAT may be on networks that the file does not know."""
    (tmp_path / "edge.ios").write_text(RUNNING)
    file = tmp_path / "pair.yaml"
    file.write_bytes(text("nat: {from: edge.ios, state: replicate}\n"))
    nat = ios(load_plan(file))
    assert dict(nat.networks)["GigabitEthernet0/0"] == "outside"
    assert nat.state == "replicate"
    assert [each.where for each in nat.said][:1] == ["edge.ios:4"]


def test_what_from_names_is_carried_and_counts_by_content(tmp_path: Path) -> None:
    """The bytes that go to an agent say the same without the file beside; another content is another digest."""
    file, beside = tmp_path / "pair.yaml", tmp_path / "edge.ios"
    beside.write_text(RUNNING)
    file.write_bytes(text("nat:\n  - {from: edge.ios, state: replicate} # after\n"))
    before = load_plan(file)
    sent = carried(file)
    assert load_plan(sent).digest == before.digest
    with pytest.raises(Problems, match="E2507"):
        load_plan(file.read_bytes())
    beside.write_text(RUNNING.replace("10.9.0.0 0.0.0.255", "10.9.0.0 0.0.0.127"))
    assert load_plan(file).digest != before.digest
    beside.write_text(RUNNING + "! a word\n")
    assert load_plan(file).digest == before.digest


def test_a_refused_line_of_another_file_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "edge.ios").write_text(RUNNING + "ip nat inside source list 1 interface Gi0/0 overlaod\n")
    file = tmp_path / "pair.yaml"
    file.write_bytes(text("nat: {from: edge.ios}\n"))
    with pytest.raises(Problems) as caught:
        load_plan(file)
    (problem,) = caught.value.problems
    assert problem.code == "E2505"
    assert problem.message.startswith("edge.ios:13: ")
    assert "% Invalid input" in problem.message


def test_lines_stand_beside_rules_and_share_their_state() -> None:
    """Marks tell groups: the greatest state counts for all."""
    nat = "nat:\n  - {source: guests, to: outside, state: copy}\n" + "".join(f"  - {line}\n" for line in OVERLOAD)
    plan = load_plan(text(nat))
    assert ios(plan).state == "copy"
    assert [each.source for each in plan.source_nat] == ["guests"]
    assert load_plan(text("nat: |\n" + "".join(f"  {line}\n" for line in OVERLOAD))).ios is not None


def test_state_can_be_required_where_lines_replicate() -> None:
    required = text("    require_sync: true\nnat:\n  lines: [" + ", ".join(OVERLOAD) + "]\n  state: replicate\n")
    assert load_plan(required).settings(load_plan(required).nodes[0].name).groups[0].stateful
