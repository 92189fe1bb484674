"""What the lab builds around the declared nodes.

`UNDERSTUDY_GOLDEN_UPDATE=1 pytest tests/lab/test_lab_topology.py` writes the expected layouts anew: read the difference
before keeping it.
"""

import os

import pytest
from lab_worlds import ROOT

from understudy.config import load_plan
from understudy.errors import OperatorError
from understudy.lab.topology import Host, Kind, Topology, lay_out

GOLDEN = ROOT / "tests" / "golden" / "lab"
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.yaml"))

FILE = """
cluster: probe
networks:
  outside: {outside}
  inside: 10.9.0.0/24
nodes:
  gw1: {{outside: 203.0.113.1, inside: 10.9.0.1}}
  gw2: {{outside: 203.0.113.2, inside: 10.9.0.2}}
  {node}
{services}
redundancy:
  edge:
    mode: active-standby
    nodes: [gw1, gw2]
    addresses: {{outside: 203.0.113.3, inside: 10.9.0.254}}
"""


def layout(outside: str = "203.0.113.0/24", node: str = "web1: {inside: 10.9.0.11}", services: str = "") -> Topology:
    return lay_out(load_plan(FILE.format(outside=outside, node=node, services=services).encode()))


def described(host: Host) -> str:
    lines = [f"{host.name} ({host.kind.value}){' http ' + ' '.join(map(str, host.http)) if host.http else ''}"]
    for port in host.ports:
        addresses = " ".join(str(address) for address in port.addresses)
        lines.append(f"  {port.interface} {port.mac.hex(':')} {addresses} -- {port.switch_port} of {port.network}")
    lines += [f"  {route.destination} via {route.via}" for route in host.routes]
    return "\n".join(lines)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_laid_out_exactly_so(name: str) -> None:
    """Hosts, ports, addresses and routes of every example, declared ones first."""
    topology = lay_out(load_plan(ROOT / "examples" / f"{name}.yaml"))
    bridges = [f"{bridge.name} is {bridge.network}" for bridge in topology.bridges]
    text = "\n".join([*bridges, *(described(host) for host in topology.hosts)]) + "\n"
    expected = GOLDEN / f"{name}.txt"
    if os.environ.get("UNDERSTUDY_GOLDEN_UPDATE"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_the_switch_knows_the_port_of_each_cable() -> None:
    """Names, indices and addresses of cables are all different, and a cable is found by node and network."""
    topology = layout()
    ports = [port for host in topology.hosts for port in host.ports]
    assert len({port.switch_port for port in ports}) == len(ports)
    assert len({port.switch_index for port in ports}) == len(ports)
    assert len({port.mac for port in ports}) == len(ports)
    assert topology.switch_port("gw1", "inside") == "port2"
    with pytest.raises(KeyError):
        topology.switch_port("web1", "outside")


def test_a_guest_gets_an_address_that_nobody_in_the_file_has() -> None:
    """The client's usual address is taken by a server: it gets the next one."""
    topology = layout(node="web1: {inside: 10.9.0.100}")
    assert [str(a) for a in topology.host("client-inside").addresses] == ["10.9.0.101/24"]


def test_in_a_small_prefix_a_guest_takes_what_is_left() -> None:
    """A prefix with fewer than a hundred addresses is searched from its start."""
    topology = layout(outside="203.0.113.0/29")
    assert [str(a) for a in topology.host("client-outside").addresses] == ["203.0.113.4/29"]


def test_a_full_prefix_is_refused_with_a_remedy() -> None:
    """Two hosts, one virtual address and the router fill a /29's six addresses but for none."""
    with pytest.raises(OperatorError) as caught:
        layout(
            outside="{prefixes: [203.0.113.0/29], gateway: [203.0.113.4]}",
            node="a: {outside: 203.0.113.5}\n  b: {outside: 203.0.113.6}",
        )
    assert caught.value.code == "E5111"
    assert "client-outside" in caught.value.hint


def test_a_declared_client_stands_in_for_the_default_one() -> None:
    """A node called `client-outside` is the client of that network; no other is added."""
    topology = layout(node="client-outside: {outside: 203.0.113.77}")
    client = topology.host("client-outside")
    assert client.kind is Kind.CLIENT
    assert [str(a) for a in client.addresses] == ["203.0.113.77/24"]
    assert [(str(r.destination), str(r.via)) for r in client.routes] == [("10.9.0.0/24", "203.0.113.3")]
    assert [h.name for h in topology.clients()] == ["client-outside", "client-inside"]


def test_a_declared_gateway_becomes_a_router_and_the_groups_nodes_use_it() -> None:
    """The next router of a network exists in the lab, and only the group's nodes have a default route to it."""
    topology = layout(outside="{prefixes: [203.0.113.0/24], gateway: [203.0.113.254]}")
    router = topology.host("router-outside")
    assert router.kind is Kind.ROUTER
    assert [str(a) for a in router.addresses] == ["203.0.113.254/24"]
    assert [(str(r.destination), str(r.via)) for r in router.routes] == [("10.9.0.0/24", "203.0.113.3")]
    for node in ("gw1", "gw2"):
        assert [(str(r.destination), str(r.via)) for r in topology.host(node).routes] == [
            ("0.0.0.0/0", "203.0.113.254")
        ]


def test_a_declared_router_stands_in_for_the_default_one() -> None:
    """A node that holds the gateway's address is the router."""
    topology = layout(
        outside="{prefixes: [203.0.113.0/24], gateway: [203.0.113.254]}", node="isp: {outside: 203.0.113.254}"
    )
    assert topology.host("isp").kind is Kind.ROUTER
    assert not [host for host in topology.hosts if host.name == "router-outside"]


def test_a_named_interface_keeps_its_name() -> None:
    """`interface:` names the port, and the counted names go around it."""
    topology = layout(node="web1: {inside: {addresses: 10.9.0.11, interface: eth0}}")
    assert [port.interface for port in topology.host("web1").ports] == ["eth0"]


def test_a_server_named_by_address_is_served_where_that_address_is() -> None:
    """An address of a declared node is served by that node; one that no node holds gets a host of its own."""
    topology = layout(
        services="services: {web: {listen: '203.0.113.3:80', servers: ['10.9.0.11:8080', '10.9.0.33:8081']}}"
    )
    assert topology.host("web1").http == (8080,)
    stranger = topology.host("server-10.9.0.33")
    assert stranger.http == (8081,)
    assert [str(a) for a in stranger.addresses] == ["10.9.0.33/24"]
    assert [str(route.via) for route in stranger.routes] == ["10.9.0.254"]
