"""Names that IOS writes for numbers, and the names of interfaces.

Port names are those of the access list commands; numbers are IANA's. An interface type may be cut to any prefix that
fits one type only, as on the router; a type that stands in no table is taken as it is written.
"""

import re

TCP_PORTS = {
    "bgp": 179, "chargen": 19, "cmd": 514, "daytime": 13, "discard": 9, "domain": 53, "echo": 7, "exec": 512,
    "finger": 79, "ftp": 21, "ftp-data": 20, "gopher": 70, "hostname": 101, "ident": 113, "irc": 194, "klogin": 543,
    "kshell": 544, "login": 513, "lpd": 515, "nntp": 119, "pim-auto-rp": 496, "pop2": 109, "pop3": 110, "smtp": 25,
    "sunrpc": 111, "syslog": 514, "tacacs": 49, "talk": 517, "telnet": 23, "time": 37, "uucp": 540, "whois": 43,
    "www": 80, "http": 80, "https": 443, "ssh": 22, "msrpc": 135, "drip": 3949,
}  # fmt: skip
UDP_PORTS = {
    "biff": 512, "bootpc": 68, "bootps": 67, "discard": 9, "dnsix": 195, "domain": 53, "echo": 7, "isakmp": 500,
    "mobile-ip": 434, "nameserver": 42, "netbios-dgm": 138, "netbios-ns": 137, "netbios-ss": 139, "ntp": 123,
    "non500-isakmp": 4500, "pim-auto-rp": 496, "rip": 520, "snmp": 161, "snmptrap": 162, "sunrpc": 111, "syslog": 514,
    "tacacs": 49, "talk": 517, "tftp": 69, "time": 37, "who": 513, "xdmcp": 177, "ripv6": 521,
}  # fmt: skip
PORTS = {**UDP_PORTS, **TCP_PORTS}

PROTOCOLS = frozenset(
    ("ip", "ipv4", "tcp", "udp", "icmp", "gre", "esp", "ah", "ahp", "eigrp", "ospf", "igmp", "pim", "ipinip", "nos",
     "pcp", "sctp", "tcp-udp", "igrp", "ipv6", "hbh", "vrrp")
)  # fmt: skip

_TYPES = (
    "ATM", "Async", "BDI", "BVI", "BD-VIF", "Cellular", "Dialer", "Embedded-Service-Engine", "Ethernet",
    "FastEthernet", "FiveGigabitEthernet", "FortyGigabitEthernet", "GigabitEthernet", "Group-Async", "HundredGigE",
    "Integrated-Service-Engine", "ISM", "LISP", "Loopback", "Management", "Multilink", "Null", "NVI",
    "Port-channel", "POS", "PVC", "Serial", "Service-Engine", "TenGigabitEthernet", "TwentyFiveGigE",
    "TwoGigabitEthernet", "Tunnel", "ucse", "VirtualPortGroup", "Virtual-Access", "Virtual-PPP", "Virtual-Template",
    "Virtual-TokenRing", "Vlan", "Wlan-ap", "Wlan-GigabitEthernet", "vmi", "FastEthernet-Switch",
    "AppGigabitEthernet", "AppNav-Compress", "TokenRing", "Fddi", "BRI", "Hssi", "Bundle-Ether", "pseudowire",
    "nve", "vasileft", "vasiright", "overlay", "MgmtEth", "Content-Engine",
)  # fmt: skip
# The common type wins where a short form would fit two: people type `g0/1`, `e0`, `s0/0`, `t1`, `lo0`, `vl10`, `po1`.
_USUAL = {
    "e": "Ethernet", "et": "Ethernet", "f": "FastEthernet", "fa": "FastEthernet", "g": "GigabitEthernet",
    "gi": "GigabitEthernet", "gig": "GigabitEthernet", "gige": "GigabitEthernet", "s": "Serial", "se": "Serial",
    "lo": "Loopback", "l": "Loopback", "te": "TenGigabitEthernet", "ten": "TenGigabitEthernet", "t": "Tunnel",
    "tengig": "TenGigabitEthernet", "tengige": "TenGigabitEthernet", "tu": "Tunnel", "v": "Vlan", "vl": "Vlan",
    "po": "Port-channel", "p": "Port-channel", "d": "Dialer", "di": "Dialer", "m": "Multilink", "mu": "Multilink",
    "hu": "HundredGigE", "fo": "FortyGigabitEthernet", "twe": "TwentyFiveGigE", "two": "TwoGigabitEthernet",
    "portchannel": "Port-channel", "ce": "Cellular", "c": "Cellular", "a": "ATM", "at": "ATM",
    "vi": "Virtual-Access", "b": "BVI", "fi": "FiveGigabitEthernet", "n": "Null", "nu": "Null", "bd": "BDI",
    "bdi": "BDI", "virtual-t": "Virtual-Template", "gigabit": "GigabitEthernet", "fastether": "FastEthernet",
    "as": "Async", "twentyfivegigabitethernet": "TwentyFiveGigE", "hundredgigabitethernet": "HundredGigE",
}  # fmt: skip
_NUMBERED = re.compile(r"([A-Za-z][A-Za-z-]*?)(/?\d[\d/.:]*)", re.ASCII)
_NAME = re.compile(r"[A-Za-z][\w./:-]*", re.ASCII)
NUMBER = re.compile(r"/?\d+(?:/\d+)*(?:\.\d+)?(?::\d+)?", re.ASCII)
"""Of an interface, where it stands apart from the type."""


def interface_type(word: str) -> str | None:
    """The whole name of a type for any unambiguous prefix of it; None where none or several fit."""
    lower = word.lower()
    if lower in _USUAL:
        return _USUAL[lower]
    fits = [name for name in _TYPES if name.lower().startswith(lower)]
    exact = [name for name in fits if name.lower() == lower]
    return exact[0] if exact else fits[0] if len(fits) == 1 else None


def interface_name(word: str) -> str | None:
    """The canonical name: `g0/1` is GigabitEthernet0/1. None for what can be no interface at all."""
    numbered = _NUMBERED.fullmatch(word)
    if numbered is not None:
        kind, number = numbered.groups()
        return f"{interface_type(kind) or kind}{number}"
    return word if _NAME.fullmatch(word) else None
