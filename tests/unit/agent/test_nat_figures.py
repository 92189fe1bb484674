"""Figures beside the kernel's: of the process that hands out addresses, of the peak, and where a line was written."""

import json
import select
import threading
from ipaddress import IPv4Address
from pathlib import Path

from understudy.agent.nat_figures import PEAK_FILE, noted_peak
from understudy.agent.nat_places import places_of
from understudy.agent.pool_figures import PoolFigures, ask_figures
from understudy.config.plan import IosLine
from understudy.core.allocation.events import Configured, Logged, Mapped, Waiting
from understudy.core.allocation.machine import Allocator
from understudy.core.allocation.records import PoolSettings
from understudy.ios.printer import print_configuration
from understudy.ios.reader import read_text
from understudy.lab import sandbox
from understudy.render.ios_counted import counted_chain, counter_objects, parse_counters
from understudy.units import SECOND, Instant

FIRST, HOST = int(IPv4Address("203.0.113.1")), int(IPv4Address("10.0.0.5"))
NOW = Instant(10 * SECOND)


def allocator() -> Allocator:
    """A pool of two addresses: one is given, one host after that gets the other, a third none."""
    machine = Allocator()
    settings = PoolSettings(number=7, name="P/near", spans=((FIRST, FIRST + 1),), timeout=None)
    machine.handle(Instant(0), Configured((settings,)))
    for host in range(3):
        machine.handle(Instant(host * SECOND), Logged((Waiting(7, HOST + host, b"packet"),)))
    machine.handle(NOW, Mapped(1))
    return machine


def test_the_allocator_tells_its_figures_to_its_own_user() -> None:
    """Capacity, what is given, who was refused, how long it lasts, and each entry's ages; idle where it leads alone."""

    def story() -> list[object]:
        found: list[object] = [ask_figures()]
        end, machine = PoolFigures(), allocator()
        end.bind()
        for leads in (True, False):
            asking = threading.Thread(target=lambda: found.append(ask_figures()))
            asking.start()
            select.select([end.socket], [], [], 5)
            end.tell(machine, NOW, leads=leads)
            asking.join()
        end.close()
        return found

    nobody, leading, following = sandbox.run(story)
    assert nobody is None
    assert leading is not None
    assert (leading.leads, leading.asked, leading.missed) == (True, 3, 1)
    pool = leading.pools[7]
    assert (pool.capacity, pool.given, pool.misses, pool.left_s) == (2, 2, 1, 0)
    entry = leading.entries[HOST, FIRST]
    assert (entry.age_s, entry.idle_s) == (10, 10)
    assert following is not None
    assert following.entries[HOST, FIRST].idle_s is None


def test_the_peak_is_the_highest_that_anybody_saw(tmp_path: Path) -> None:
    """Kept for the next question; a damaged record counts as none, and without a place only the present is known."""
    assert noted_peak(None, 5) == (5, 0)
    assert [noted_peak(tmp_path, number)[0] for number in (3, 9, 4)] == [3, 9, 9]
    number, at = json.loads((tmp_path / PEAK_FILE).read_text())
    assert number == 9
    (tmp_path / PEAK_FILE).write_text(json.dumps([9, at - 100]))
    assert 100 <= noted_peak(tmp_path, 4)[1] < 200
    for damage in ("", "[1", "[[]]", "{}", "[" * 10_000):
        (tmp_path / PEAK_FILE).write_text(damage)
        assert noted_peak(tmp_path, 2) == (2, 0)


def test_counters_are_read_from_a_listing() -> None:
    listing = (
        "table inet understudy {\n\tcounter ios_hits {\n\t\tpackets 26 bytes 504\n\t}\n}\n"
        "table inet understudy {\n\tcounter ios_misses {\n\t\tpackets 4 bytes 84\n\t}\n}\n"
    )
    assert parse_counters(listing) == {"ios_hits": 26, "ios_misses": 4}
    assert all(name in counter_objects() for name in parse_counters(listing))
    assert all(any(name in rule for rule in counted_chain().rules) for name in parse_counters(listing))


def test_a_line_of_the_canonical_form_is_found_where_it_was_written() -> None:
    """Abbreviated, out of order, among other lines; entries of lists and clauses too."""
    lines = [
        IosLine("edge.ios:4", "ip nat ins so li NAT int g0/1 ov", "same", ("", ""), "role"),
        IosLine("line 12, item 3", "ip nat inside source static 10.0.0.5 203.0.113.5", "same", ("", ""), "role"),
        IosLine("edge.ios:7", "ip access-list extended NAT", "same", ("", ""), "role"),
        IosLine("edge.ios:8", "deny ip any 10.0.0.0 0.255.255.255", "same", ("", ""), "role"),
        IosLine("edge.ios:9", "permit ip 10.0.0.0 0.0.0.255 any", "same", ("", ""), "role"),
    ]
    text = print_configuration(read_text("\n".join(each.text for each in lines)).configuration)
    places = places_of(read_text(text), lines)
    found = {text.splitlines()[line - 1].strip(): where for line, (where, _) in places.items()}
    assert found["ip nat inside source static 10.0.0.5 203.0.113.5"] == "line 12, item 3"
    assert found["ip nat inside source list NAT interface GigabitEthernet0/1 overload"] == "edge.ios:4"
    assert found["20 permit ip 10.0.0.0 0.0.0.255 any"] == "edge.ios:9"
    assert places_of(read_text(text), ()) == {}
