"""FTP, TFTP, strictness and who began, by lines of Cisco IOS on a pair of real agents."""

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from agent_sockets import INSIDE, OUTSIDE, SOCKET_S, own, talk
from agent_worlds import ROOT, World, in_lab, other

from understudy.adapters.conntrack import FlowTable
from understudy.agent.client import reload
from understudy.wire.conntrack import decode
from understudy.wire.marks import DIRECTION_INSIDE, DIRECTION_MASK, DIRECTION_OUTSIDE

PLAIN = (ROOT / "examples" / "cisco.yaml").read_text().replace("advertise: 100ms", "advertise: 400ms")
PERMIT = "access-list 2 permit 10.9.0.0 0.0.0.255"
PLAIN = PLAIN.replace(PERMIT, f"access-list 2 deny host 10.9.0.12\n    - {PERMIT}")
TEXT = PLAIN.replace("  lines:\n", "  strict: true\n  lines:\n")
TEXT += "    - ip nat service ftp\n    - ip nat service tftp\n"
VIRTUAL, STATIC = "203.0.113.10", "203.0.113.21"
pytestmark = pytest.mark.usefixtures("helpers")
NOTHING_S = 0.5
"""Within which a datagram that can arrive does."""
_NUMBERS = re.compile(rb"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)")


@contextlib.contextmanager
def opened(world: World, host: str, kind: int = socket.SOCK_STREAM, port: int = 0) -> Iterator[socket.socket]:
    """A socket of a host, bound, and listening if it can."""
    with world.lab.namespaces[host].socket(socket.AF_INET, kind) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.settimeout(SOCKET_S)
        end.bind((own(world, host), port))
        if kind == socket.SOCK_STREAM and port >= 0:
            end.listen(8)
        yield end


@contextlib.contextmanager
def control(world: World, client: str, address: str, server: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A control connection of FTP: the client's end and the server's. Its helper looks behind line ends only."""
    namespace = world.lab.namespaces[client]
    with opened(world, server, port=21) as listener, namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.settimeout(SOCKET_S)
        end.connect((address, 21))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(SOCKET_S)
            accepted.sendall(b"220 ready\r\n")
            assert end.recv(100) == b"220 ready\r\n"
            end.sendall(b"USER us\r\n")
            assert accepted.recv(100) == b"USER us\r\n"
            yield end, accepted


def words(address: str, port: int) -> bytes:
    return f"{address.replace('.', ',')},{port >> 8},{port & 255}".encode()


def said(line: bytes) -> tuple[str, int]:
    """The address and port that a line of FTP names."""
    found = _NUMBERS.search(line)
    assert found is not None, line
    *address, high, low = map(int, found.groups())
    return ".".join(map(str, address)), high << 8 | low


def active_data(world: World) -> str:
    """What an outside server is told by an inside client, and where it can connect to: the data come."""
    with control(world, INSIDE, own(world, OUTSIDE), OUTSIDE) as (client, server), opened(world, INSIDE) as data:
        client.sendall(b"PORT " + words(own(world, INSIDE), data.getsockname()[1]) + b"\r\n")
        address, port = said(server.recv(200))
        return address if pushed(world, address, port, data) else f"{address} is not there"


def passive_data(world: World) -> str:
    """What an outside client is told by an inside server with a static entry."""
    with control(world, OUTSIDE, STATIC, "web1") as (client, server), opened(world, "web1") as data:
        server.sendall(b"227 Entering Passive Mode (" + words(own(world, "web1"), data.getsockname()[1]) + b")\r\n")
        address, port = said(client.recv(200))
        return address if pushed(world, address, port, data) else f"{address} is not there"


def pushed(world: World, address: str, port: int, data: socket.socket) -> bool:
    """Whether somebody outside can connect to an address, and bytes go both ways between him and `data`."""
    with world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_STREAM) as pushing:
        pushing.settimeout(2)
        try:
            pushing.connect((address, port))
        except OSError:
            return False
        with data.accept()[0] as accepted:
            talk(pushing, accepted)
            return True


def tftp_data(world: World, patience_s: float = SOCKET_S) -> bytes:
    """What an inside client gets from a server that answers from another port; nothing if none of it comes."""
    with opened(world, OUTSIDE, socket.SOCK_DGRAM, 69) as server, opened(world, INSIDE, socket.SOCK_DGRAM) as client:
        client.settimeout(patience_s)
        client.sendto(b"\0\1name\0octet\0", (own(world, OUTSIDE), 69))
        _, asked = server.recvfrom(200)
        assert asked[0] == VIRTUAL
        with opened(world, OUTSIDE, socket.SOCK_DGRAM) as answering:
            answering.sendto(b"\0\3\0\1data", asked)
            try:
                return client.recvfrom(200)[0]
            except TimeoutError:
                return b""


def leaves(world: World, host: str) -> str:
    """As whom a datagram of a host arrives outside; nothing if it does not."""
    with opened(world, OUTSIDE, socket.SOCK_DGRAM, 9300) as server, opened(world, host, socket.SOCK_DGRAM) as end:
        server.settimeout(NOTHING_S)
        end.sendto(b"word", (own(world, OUTSIDE), 9300))
        try:
            return str(server.recvfrom(64)[1][0])
        except TimeoutError:
            return ""


@in_lab
def test_ftp_and_tftp_work_in_earnest(world: World) -> None:
    """Active and passive: the address in the text is the one outside, and the second connection comes."""
    for _ in range(2):
        assert active_data(world) == VIRTUAL
        assert passive_data(world) == STATIC
        assert tftp_data(world) == b"\0\3\0\1data"
        world.switch_over()


@in_lab
def test_without_the_services_none_of_them_works(world: World) -> None:
    """Control, with what else the lines say as it is."""
    for text in (PLAIN, TEXT):
        for node in (world.standby(), world.active()):
            assert reload(world.lab.run_dir(node), "new.yaml", text.encode())["ok"]
        if text == PLAIN:
            # Only the lab's outside client has a way to such addresses.
            assert active_data(world).startswith(own(world, INSIDE))
            assert passive_data(world).startswith(own(world, "web1"))
            assert tftp_data(world, NOTHING_S) == b""
            # Control of `strict`: who is denied goes out untranslated.
            assert world.until(lambda: leaves(world, "web2")) == own(world, "web2")
    assert tftp_data(world) == b"\0\3\0\1data"
    world.settle()


@in_lab
def test_what_is_not_translated_does_not_leave(world: World) -> None:
    assert leaves(world, "web2") == ""
    # A datagram may be lost while the roles move; the first that arrives has the right address.
    assert world.until(lambda: leaves(world, INSIDE)) == VIRTUAL
    assert world.until(lambda: leaves(world, "web1")) == STATIC

    def counted() -> bool:
        """Each is; a rule set that was loaded meanwhile begins anew, and so does this."""
        if "counter packets 0" not in _last(world.run(world.active(), "nft list chain inet understudy postrouting")):
            return True
        assert leaves(world, "web2") == ""
        return False

    world.until(counted)


def _last(listing: str) -> str:
    return [line for line in listing.splitlines() if "drop" in line][-1]


def _began(marks: set[int]) -> set[int]:
    return {mark & DIRECTION_MASK for mark in marks}


def _all_began(run: Callable[..., set[int]], asked: tuple[str, int], side: int) -> bool:
    return _began(run(_marks_of, *asked)) == {side}


def _marks_of(source: str, port: int) -> set[int]:
    """Of flows from an address to a port, as they came in."""
    table = FlowTable()
    flows = [decode(raw) for part in table.list({1}) for raw in part]
    table.close()
    wanted = [f for f in flows if (str(f.original.source), f.original.there) == (source, port)]
    return {flow.mark or 0 for flow in wanted}


@in_lab
def test_a_flow_carries_which_side_began_it(world: World) -> None:
    """On both nodes; also one whose data connection runs against its control connection."""
    active = world.active()
    with control(world, INSIDE, own(world, OUTSIDE), OUTSIDE) as (client, server), opened(world, INSIDE) as data:
        client.sendall(b"PORT " + words(own(world, INSIDE), data.getsockname()[1]) + b"\r\n")
        address, port = said(server.recv(200))
        with world.lab.namespaces[OUTSIDE].socket(socket.AF_INET, socket.SOCK_STREAM) as pushing:
            pushing.settimeout(SOCKET_S)
            pushing.connect((address, port))
            accepted, _ = data.accept()
            for node in (active, other(active)):
                marks = world.lab.namespaces[node].run
                for asked, side in (
                    ((own(world, INSIDE), 21), DIRECTION_INSIDE),
                    ((own(world, OUTSIDE), port), DIRECTION_OUTSIDE),
                ):
                    world.until(partial(_all_began, marks, asked, side))
            accepted.close()
