"""What an agent is started with, and what it finds out about its node before it forks."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from understudy.adapters.links import Links
from understudy.agent.client import RELOAD_SOCKET
from understudy.agent.draining import Draining
from understudy.config.plan import Node, Plan
from understudy.errors import OperatorError
from understudy.units import Duration, NetworkName, NodeName

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """`key` is the cluster's 32 bytes, `more_keys` open as well while one is replaced (config.key).

    Controls for drills, never for service: `lease_enabled=False` opens the kernel's gates, `gate_enabled=False` lets
    addresses answer before the state is there, `sync_delay` holds every write of replicated flows back that long.
    """

    plan: Plan
    node: NodeName
    run_dir: Path
    key: bytes
    lease_enabled: bool = True
    state_dir: Path | None = None
    """For what must survive a reboot; the run directory if there is no other."""
    file: Path | None = None
    """Where `plan` came from and is read again on SIGHUP; None if it came from nowhere in particular."""
    loaded_ns: int = 0
    """When the node took `plan`, on the monotonic clock."""
    more_keys: tuple[bytes, ...] = ()
    key_file: Path | None = None
    """Where the keys came from and are read again with the file; None if they came from nowhere in particular."""
    gate_enabled: bool = True
    sync_delay: Duration = 0
    draining: Draining = ()
    """Files before `plan` whose translations live flows still use."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Any of them opens; the first seals."""
        return (self.key, *self.more_keys)

    @property
    def reload_path(self) -> Path:
        """The socket that takes another file, served by a process of its own for each request."""
        return self.run_dir / RELOAD_SOCKET

    @property
    def control_path(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def journal_path(self) -> Path:
        return self.run_dir / "events.jsonl"

    @property
    def store_path(self) -> Path:
        return (self.state_dir or self.run_dir) / "store.json"

    @property
    def draining_path(self) -> Path:
        return self.store_path.with_name("draining.json")

    @property
    def progress_path(self) -> Path:
        """How far that is; in memory where the run directory is."""
        return self.run_dir / "drain-progress.json"

    @property
    def core_pid_path(self) -> Path:
        return self.run_dir / "core.pid"


def claim_directories(options: AgentOptions) -> int:
    """Make the directories and lock the run directory; the descriptor holds the lock. Raises OperatorError."""
    for option, directory in (("--run-dir", options.run_dir), ("--state-dir", options.state_dir or options.run_dir)):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(
                "E5208", f"cannot use the directory {directory}: {error.strerror}", f"choose another with {option}"
            ) from error
        if directory == options.run_dir:
            held = lock
        else:
            os.close(lock)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise OperatorError(
            "E5209",
            f"another agent runs in {options.run_dir}",
            "there is one to a node: understudy status shows it. For another node choose another --run-dir",
        ) from error
    return held


def find_node(plan: Plan, name: NodeName) -> Node:
    """The node's description. Raises OperatorError if the file has no such node, or no group needs an agent on it."""
    for node in plan.nodes:
        if node.name == name:
            if not any(name in group.nodes for group in plan.groups):
                raise OperatorError(
                    "E5202", f"node {name} is in no redundancy group", "run the agent on the nodes of a group only"
                )
            return node
    known = ", ".join(node.name for node in plan.nodes)
    raise OperatorError("E5201", f"the file has no node {name!r}", f"it has: {known}. Choose one with --node")


def find_interfaces(node: Node) -> dict[NetworkName, str]:
    """The port of each network: as named in the file, or the one that holds the node's address there."""
    links = Links()
    names = {link.index: link.name for link in links.links()}
    holders = {address: names.get(index, "") for index, address, _ in links.addresses()}
    found: dict[NetworkName, str] = {}
    for attachment in node.attachments:
        if attachment.interface is not None:
            if attachment.interface not in names.values():
                raise OperatorError(
                    "E5203",
                    f"{node.name} has no interface {attachment.interface} for network {attachment.network}",
                    f"interfaces here: {', '.join(sorted(names.values()))}",
                )
            found[attachment.network] = attachment.interface
            continue
        for address in attachment.addresses:
            if address.ip in holders:
                found[attachment.network] = holders[address.ip]
                break
        else:
            wanted = ", ".join(str(address) for address in attachment.addresses)
            raise OperatorError(
                "E5204",
                f"no interface of this machine holds {wanted}, the address of {node.name} on {attachment.network}",
                f"give the port its address (ip address add {attachment.addresses[0]} dev PORT) or name it in the file",
            )
    return found


def require_capabilities() -> None:
    """Raises OperatorError unless this process may change links and open packet sockets."""
    effective = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    missing = [
        name
        for name, bit in (("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_NET_RAW", CAP_NET_RAW))
        if not effective >> bit & 1
    ]
    if missing:
        raise OperatorError(
            "E5205",
            f"the agent needs {' and '.join(missing)} (user id {os.geteuid()})",
            "run it as root or through the systemd unit; to try it without root use `understudy lab up FILE`",
        )
