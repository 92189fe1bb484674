"""The ways to speak that are tried, and the file that says so."""

from dataclasses import dataclass

OURS, THEIRS = "gw1", "gw2"
"""Our agent's node, and the one of the other implementation."""
UNHURRIED = "300ms"
"""How often tests advertise: the lease lasts three of it, and a busy machine shall not be what moves a group."""


@dataclass(frozen=True)
class Speech:
    """A way to speak, and with whom."""

    kind: str
    """The daemon: `keepalived` or `frr`."""
    version: int = 3
    family: int = 4
    unicast: bool = False
    checksum: str = "rfc5798"
    virtual_mac: bool = True
    lans: int = 1
    advertise: str = "100ms"
    options: str = ""
    """Lines for the daemon's own configuration."""

    @property
    def name(self) -> str:
        words = [self.kind, f"v{self.version}", f"IPv{self.family}", "unicast" if self.unicast else "multicast"]
        words += [] if self.virtual_mac else ["no virtual MAC"]
        words += [self.checksum] if self.checksum != "rfc5798" and self.family == 4 and self.version == 3 else []
        words += ["two LANs"] if self.lans > 1 else []
        words += [word for word in ("use_vmac", "vmac_xmit_base") if word in self.options]
        return " ".join(words)

    def text(self, *, ours_first: bool, preempt: bool) -> str:
        """The file."""
        prefixes = {"lan": ("192.0.2.", "2001:db8::"), "other": ("198.51.100.", "2001:db8:1::")}
        networks: list[str] = []
        nodes: dict[str, list[str]] = {OURS: [], THEIRS: []}
        addresses: list[str] = []
        for network in list(prefixes)[: self.lans]:
            prefix = prefixes[network][self.family == 6]
            networks.append(f"{network}: '{prefix}{'/64' if self.family == 6 else '0/24'}'")
            for place, node in enumerate(nodes, 1):
                nodes[node].append(f"{network}: '{prefix}{place}'")
            addresses.append(f"{network}: ['{prefix}10', '{prefix}11']")
        ranked = [OURS, THEIRS] if ours_first else [THEIRS, OURS]
        vrrp = [f"version: {self.version}", "peer: vrrp", f"unicast: {str(self.unicast).lower()}"]
        vrrp += [f"checksum: {self.checksum}"] if self.version == 3 else []
        vrrp += [] if self.virtual_mac else ["virtual_mac: false"]
        return f"""cluster: beside
networks: {{{", ".join(networks)}}}
nodes:
  {OURS}: {{{", ".join(nodes[OURS])}}}
  {THEIRS}: {{{", ".join(nodes[THEIRS])}}}
redundancy:
  front:
    nodes: [{", ".join(ranked)}]
    addresses: {{{", ".join(addresses)}}}
    advertise: {self.advertise}
    preempt: {str(preempt).lower()}
    vrrp: {{{", ".join(vrrp)}}}
"""
