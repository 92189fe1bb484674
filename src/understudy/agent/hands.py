"""The process that changes the kernel: links, addresses, rule sets, the store's file.

What may wait (a busy kernel, a big rule set, a slow disk) waits here, so that it never delays an advertisement, and a
crash of the C library behind it does not take the core along. Commands are carried out in order; each is answered.
Between them it watches that the kernel stays as they left it, and says unasked what it put right (`agent.drift`).
"""

import contextlib
import select
import socket
import time
from dataclasses import replace
from pathlib import Path

from understudy.adapters.links import Links, write_sysctl
from understudy.adapters.nftables import Nft
from understudy.agent.drift import Drift
from understudy.agent.messages import Message, receive, send
from understudy.agent.options import AgentOptions
from understudy.agent.running import render
from understudy.agent.store import Store, Stored
from understudy.errors import EnvironmentFailure, OperatorError
from understudy.render import pair_changes, quieten, revoke_lease, unquieten
from understudy.render.model import NodeConfig
from understudy.units import GroupName, NetworkName

LOOSE = "net/netfilter/nf_conntrack_tcp_loose"


class Hands:
    """Carries out what the core decides, in the node's network namespace."""

    def __init__(self, options: AgentOptions, config: NodeConfig, interfaces: dict[NetworkName, str]) -> None:
        self._options = options
        self._config = config
        self._interfaces = interfaces
        self._links = Links()
        self._nft = Nft()
        self._store = Store(options.store_path)
        self._indexes: dict[int, NetworkName] = {}
        """Of the ports, as the kernel numbers its links."""
        self._numbers = {group.name: group.number for group in options.plan.groups}
        self._balanced = [
            service
            for service in options.plan.services
            if any(listen.group in {link.group for link in config.links} for listen in service.listen)
        ]
        self._everyone = frozenset(server.binding for service in self._balanced for server in service.servers)
        self._up = self._everyone
        """The servers that the kernel's balancer may choose now."""
        self._before = ""
        """The rule set in the kernel, where another one is about to take its place."""
        self._resting = False
        """The kernel may hold another file's maps: whose bindings are not ours to write."""
        self._quiet_groups: set[GroupName] = set()
        """Those that are being handed over."""
        self._drift = Drift(config, self._nft, self._ruleset_now, self._unquieten_others)
        self._commands = {
            "apply": self._apply,
            "rest": self._rest,
            "survey": self._survey,
            "role": self._role,
            "revoke": self._revoke,
            "quiet": self._quiet,
            "servers": self._servers,
            "strict": self._strict,
            "neighbours": self._neighbours,
            "persist": self._persist,
            "remove": self._remove,
        }

    def run(self, end: socket.socket) -> None:
        """Serve until the other end closes."""
        while True:
            ready, _, _ = select.select([end, *self._drift.sockets], [], [], self._drift.wait_s)
            if end not in ready:  # a command comes first: it may be a promotion
                if (found := self._drift.work(ready)) is not None:
                    send(end, found)
                continue
            try:
                while (message := receive(end)) is not None:
                    send(end, self.carry_out(message))
            except EOFError:
                return

    def carry_out(self, message: Message) -> Message:
        """One command; the answer repeats its `op`, `generation` and `token` and carries `error` if it failed."""
        answer: Message = {name: message[name] for name in ("op", "generation", "token", "group") if name in message}
        begun = time.monotonic_ns()
        try:
            answer.update(self._commands[message["op"]](message))
        except (EnvironmentFailure, OperatorError) as error:
            answer["error"] = str(error)
        except (OSError, LookupError) as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        answer["took_ns"] = time.monotonic_ns() - begun
        return answer

    def _apply(self, message: Message) -> Message:
        """The rule set first: it loads conntrack, whose sysctls exist only then, and it shuts the gates."""
        self._resting = False
        if not message.get("first"):
            self._keep_loose()
        try:
            self._nft.apply(self._config.ruleset, self._before)
            self._before = ""
            self._links.apply(self._config.links, self._config.sysctls, self._config.rules)
        except (EnvironmentFailure, OSError):
            if message.get("first"):
                self._remove(message)  # half of it would be neither served nor ever taken away
            else:
                self._drift.begin()  # what is missing is tried again, and told
            raise
        self._drift.begin()
        return {}

    def _rest(self, message: Message) -> Message:
        """Change nothing more unasked, until the next `apply`: other hands are about to take over."""
        self._resting = True
        self._drift.rest()
        return {}

    def _ruleset_now(self) -> str:
        """The rule set with the servers that are up now."""
        if self._up == self._everyone:
            return self._config.ruleset
        return render(self._options, self._interfaces, self._up).ruleset

    def _survey(self, message: Message) -> Message:
        """Groups that this kernel still answers for: lease alive, links and addresses there, not just handed over."""
        quiet = self._nft.quiet()
        leases = {group: left for group, left in self._nft.leases().items() if group not in quiet}
        held = []
        for group, number in self._numbers.items():
            links = [link for link in self._config.links if link.group == group]
            if links and leases.get(number, 0) > 0 and self._links.are_answering(links):
                held.append(group)
        for group in held:  # of the others the core will say what it wants
            self._drift.role(group, True)
        self._drift.look_anew()  # the first look may have come before anybody knew the roles
        return {"held": held, "up": sorted(self._up), "drift": self._drift.summary()}

    def _role(self, message: Message) -> Message:
        group, active = message["group"], bool(message["active"])
        links = [link for link in self._config.links if link.group == group]
        self._drift.role(group, None)  # half done, it is neither
        self._quiet_groups.discard(group)
        if active:
            self._nft.run(unquieten(self._numbers[message["group"]]))
            self._links.take(links)
        else:
            self._links.release(links)
            self._nft.run(unquieten(self._numbers[message["group"]]))
        self._drift.role(group, active)
        return {"active": active}

    def _revoke(self, message: Message) -> Message:
        self._nft.run(revoke_lease(self._numbers[message["group"]]))
        return {}

    def _quiet(self, message: Message) -> Message:
        group = message["group"]
        self._nft.run((quieten if message["on"] else unquieten)(self._numbers[group]))
        (self._quiet_groups.add if message["on"] else self._quiet_groups.discard)(group)
        return {}

    def _unquieten_others(self) -> str:
        return "".join(unquieten(self._numbers[g]) for g in self._numbers if g not in self._quiet_groups)

    def _servers(self, message: Message) -> Message:
        up = frozenset(message["up"])
        plan = self._options.plan
        text = "".join(pair_changes(plan, service, self._up, up) for service in self._balanced)
        if text and not self._resting:  # `apply` writes all of them
            self._nft.run(text)
        self._up = up
        return {}

    def _strict(self, message: Message) -> Message:
        """Whether flows may be picked up in the middle is for the core to say: it knows whether they are in sync."""
        self._want_loose("0" if message["on"] else "1")
        write_sysctl(LOOSE, dict(self._config.sysctls)[LOOSE])
        return {}

    def _keep_loose(self) -> None:
        """As the core wanted it of the hands before."""
        with contextlib.suppress(OSError):
            self._want_loose(Path("/proc/sys", LOOSE).read_text().strip())

    def _want_loose(self, value: str) -> None:
        sysctls = tuple((path, value if path == LOOSE else had) for path, had in self._config.sysctls)
        self._config = replace(self._config, sysctls=sysctls)
        self._drift.expect(self._config)

    def _neighbours(self, message: Message) -> Message:
        if not self._indexes:  # to these ports the agent's sockets are bound; with others it must be restarted
            self._indexes = {socket.if_nametoindex(name): network for network, name in self._interfaces.items()}
        found = self._links.neighbours(self._indexes)
        return {
            "neighbours": {network: [str(a) for a in found[index][:16]] for index, network in self._indexes.items()}
        }

    def _persist(self, message: Message) -> Message:
        stored = self._store.load()
        self._store.save(Stored(stored.epoch, bool(message["maintenance"])))
        return {"maintenance": bool(message["maintenance"])}

    def _remove(self, message: Message) -> Message:
        """In this order nothing answers in between: without links no address, and the rules hold back resets last."""
        self._drift.rest()
        self._links.remove()
        self._nft.apply("")
        return {}
