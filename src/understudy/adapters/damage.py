"""What of ours this kernel does not hold as the role of the moment wants it, in words; and how it is put right.

A look costs a dump of links and addresses (1 ms), one of routing rules, or a read of each setting from files that stay
open (0.1 ms). Links that we made are known again by their index: a macvlan with another name or MAC is still ours.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from understudy.adapters.difference import rule_difference
from understudy.adapters.links import HeldAddress, Links, PresentLink, write_sysctl
from understudy.adapters.netlink import IFLA_ADDRESS, IFLA_IFNAME, RTM_SETLINK, Request, RouteSocket, attribute
from understudy.adapters.rules import Rules
from understudy.core.repair import Kind
from understudy.errors import EnvironmentFailure
from understudy.render.model import Link, NodeConfig
from understudy.units import GroupName

Roles = Mapping[GroupName, bool]
"""Whether this node is Active for a group; a group that is not there may be either."""
Damage = dict[Kind, list[str]]
_LINK = struct.Struct("=BxHiII")


class Inspector:
    """Looks at, and repairs, links, addresses, routing rules and settings of the namespace in which it was made."""

    def __init__(self, config: NodeConfig) -> None:
        self._links = Links()
        self._route = RouteSocket()
        self._rules = Rules(self._route)
        self.expect(config)
        self._faulty: set[str] = set()
        """Macvlans that are not right as links: what their settings are is not ours to say."""
        self._files: dict[str, int] = {}
        self._indexes: dict[str, int] = {}
        """Of our macvlans and of the ports, when last seen right."""
        self._ports: dict[str, int] = {}
        """Indexes of the ports when first seen: by these the agent's sockets are bound."""
        self.incomplete = True
        """Something is missing, so that news of any link may be news of ours."""

    def expect(self, config: NodeConfig) -> None:
        """From here on settings are to have other values."""
        self._config = config
        of_links = ((path, value, link.name) for link in config.links for path, value in link.sysctls)
        self._sysctls = (*((path, value, "") for path, value in config.sysctls), *of_links)
        """With the name of the macvlan that has it."""
        self._wanted = tuple((path, f"{value}\n".encode(), link) for path, value, link in self._sysctls)

    def concerns(self, index: int) -> bool:
        """Whether news of this link may be of interest."""
        return self.incomplete or index in self._indexes.values()

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    # --- looking

    def look_at_links(self, roles: Roles) -> Damage:
        """Of links and addresses; also of the rule set, whose chains went with a port that is another one now."""
        damage: Damage = {Kind.LINKS: [], Kind.ADDRESSES: []}
        present = {link.name: link for link in self._links.links()}
        held: dict[int, list[HeldAddress]] = {}
        for each in self._links.held():
            held.setdefault(each.index, []).append(each)
        for port in dict.fromkeys(link.parent for link in self._config.links):
            if port not in present:
                damage[Kind.LINKS].append(f"port {port} is gone")
                continue
            index = present[port].index
            if self._indexes.setdefault(port, index) != index:
                self._indexes[port] = index
                damage[Kind.RULESET] = [*damage.get(Kind.RULESET, ()), f"port {port} is another one now"]
            if self._ports.setdefault(port, index) != index:
                damage[Kind.LINKS].append(f"port {port} was made anew")
        answering: list[Link] = []
        for link in self._config.links:
            if link.parent in present:
                fault = self._link_fault(link, present, roles.get(link.group))
                self._faulty.discard(link.name)
                if fault:
                    self._faulty.add(link.name)
                    damage[Kind.LINKS].append(fault)
                elif link.group in roles:
                    damage[Kind.ADDRESSES] += self._address_faults(link, held.get(present[link.name].index, ()), roles)
                    answering += [link] if roles[link.group] else []
        missing = self._links.missing_routes(answering)
        damage[Kind.ADDRESSES] += [f"route {each} is missing on {link.name}" for link, each in missing]
        self.incomplete = bool(damage[Kind.LINKS])
        return damage

    def _link_fault(self, link: Link, present: Mapping[str, PresentLink], active: bool | None) -> str:
        if not link.is_macvlan:
            return ""
        there = present.get(link.name)
        if there is None:
            renamed = [each.name for each in present.values() if each.index == self._indexes.get(link.name)]
            return f"link {link.name} is called {renamed[0]}" if renamed else f"link {link.name} is gone"
        if there.mac.hex(":") != link.mac:
            return f"link {link.name} has the MAC address {there.mac.hex(':')}"
        if there.parent != present[link.parent].index:
            return f"link {link.name} is on another port"
        self._indexes[link.name] = there.index
        if active is not None and there.up != active:
            return f"link {link.name} is up without being Active" if there.up else f"link {link.name} is down"
        return ""

    def _address_faults(self, link: Link, held: Sequence[HeldAddress], roles: Roles) -> Iterator[str]:
        wanted = set(link.addresses) if roles[link.group] else set()
        there = {each.interface for each in held}
        ours = there
        if not link.is_macvlan:  # the operator's port: only what we gave it, or would
            named = {address for each in self._config.links if each.name == link.name for address in each.addresses}
            ours = {each.interface for each in held if each.is_ours and each.interface not in named}
            ours |= there.intersection(link.addresses)
        yield from (f"address {each} is missing on {link.name}" for each in sorted(wanted - there, key=str))
        yield from (f"address {each} is on {link.name}" for each in sorted(ours - wanted, key=str))

    def look_at_rules(self) -> list[str]:
        return list(rule_difference(self._rules, self._config.rules))

    def look_at_sysctls(self) -> list[str]:
        """Settings of a link that is not there are none: it is missed as a link."""
        found = []
        for path, wanted, link in self._wanted:
            try:
                held = os.pread(self._files[path], 64, 0)
            except (KeyError, OSError):
                held = self._reopen(path)
            if held != wanted and held and link not in self._faulty:
                found.append(f"{path.replace('/', '.')} is {held.decode(errors='replace').strip()}")
        return found

    def _reopen(self, path: str) -> bytes:
        """A link that came back has other files than before, of the same name. Empty if there is none."""
        with suppress(KeyError):
            os.close(self._files.pop(path))
        try:
            self._files[path] = os.open(f"/proc/sys/{path}", os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._files[path], 64, 0)
        except OSError:
            return b""

    # --- putting right; each raises EnvironmentFailure

    def repair_links(self, roles: Roles) -> None:
        """Whatever has a port; then it raises for a port that is gone, or that is another one."""
        present = self._links.links()
        indexes = {each.name: each.index for each in present}
        there = [link for link in self._config.links if link.parent in indexes]
        for link in there:
            if link.is_macvlan:
                self._restore_identity(link, present)
        failures: list[EnvironmentFailure] = []
        try:
            self._links.apply(self._config.links, self._config.sysctls, self._config.rules)
        except EnvironmentFailure as failure:
            failures.append(failure)
        for group, active in roles.items():
            try:
                if active:
                    self._links.take([link for link in there if link.group == group])
                else:
                    self._links.release([link for link in self._config.links if link.group == group])
            except EnvironmentFailure as failure:
                failures.append(failure)
        if failures:
            raise failures[0]
        for port, index in self._ports.items():
            if indexes.get(port, index) != index:
                raise EnvironmentFailure("use", f"port {port}", "the agent must be restarted")

    def _restore_identity(self, link: Link, present: Sequence[PresentLink]) -> None:
        """The name and the MAC address of a link that we made."""
        there = next((each for each in present if each.index == self._indexes.get(link.name)), None)
        if there is None or (there.name, there.mac.hex(":")) == (link.name, link.mac):
            return
        if there.name != link.name:
            self._links.set_up(there.name, up=False)  # a kernel before 6.2 renames no link that is up
        payload = _LINK.pack(0, 0, there.index, 0, 0)
        payload += attribute(IFLA_IFNAME, link.name.encode() + b"\0")
        payload += attribute(IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        self._route.commit([Request(RTM_SETLINK, 0, payload, "restore", link.name)])

    def repair_rules(self) -> None:
        self._rules.apply(self._config.rules)

    def repair_sysctls(self) -> None:
        for path, value, link in self._sysctls:
            if link not in self._faulty and Path("/proc/sys", path).exists():
                write_sysctl(path, value)
