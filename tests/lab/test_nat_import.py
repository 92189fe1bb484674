"""The lab of an imported router: what is built around the pair leaves the addresses of its translations alone."""

from understudy.config import load_plan
from understudy.ios.check import check
from understudy.ios.profiles import profile_named
from understudy.ios.reader import read_text
from understudy.lab.topology import Topology, lay_out
from understudy.migrate.ios_draft import Wishes, draft

ROUTER = """\
hostname R9
interface GigabitEthernet0/0
 ip address 203.0.113.2 255.255.255.0
 ip nat outside
interface GigabitEthernet0/1
 ip address 10.9.0.1 255.255.255.0
 ip nat inside
ip route 0.0.0.0 0.0.0.0 203.0.113.1
"""
STATIC = "ip nat inside source static 10.9.0.100 203.0.113.100\n"
POOL = "ip nat pool P 203.0.113.101 203.0.113.110 prefix-length 24\n"


def topology(text: str) -> Topology:
    report = check(read_text(ROUTER + text), profile_named("classic"))
    return lay_out(load_plan(draft(report, "r9.cfg", Wishes()).text.encode()))


def address(found: Topology, host: str) -> str:
    return str(found.host(host).addresses[0].ip)


def test_a_client_takes_no_address_that_nat_gives_out() -> None:
    """Neither a static entry's nor a pool's; the inside host of the entry is the client there."""
    found = topology(STATIC + POOL)
    assert address(found, "client-outside") == "203.0.113.111"
    assert address(found, "client-inside") == "10.9.0.100"
    assert address(found, "router-outside") == "203.0.113.1"


def test_without_translations_it_is_numbered_as_ever() -> None:
    """The control."""
    assert address(topology(STATIC.replace(".100\n", ".50\n")), "client-outside") == "203.0.113.100"
