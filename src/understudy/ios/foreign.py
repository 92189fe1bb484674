"""Signs of configurations that are not Cisco IOS, so that a refusal says what the text is."""

import re

_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Juniper Junos",
        (
            r"(?:set|delete) (?:security|services|interfaces|system|policy-options|firewall|routing-options) ",
            r"(?:security|nat|source|rule-set \S+) \{$",
        ),
    ),
    (
        "Cisco ASA",
        (
            r"(?:nat|global|static) \([^)]*\)",
            r"object network \S",
            r"nameif \S",
            r"ASA Version ",
            r"access-list \S*[A-Za-z]\S* (?:line \d+ )?(?:extended|standard) ",
        ),
    ),
    ("MikroTik RouterOS", (r"/ip (?:firewall|address|route)", r"add (?:action|chain|disabled|comment)=\S")),
    (
        "iptables",
        (
            r"(?:-A|-I|:) ?(?:PREROUTING|POSTROUTING|FORWARD|INPUT|OUTPUT)\b",
            r"(?:sudo )?ip6?tables(?:-restore)? ",
            r"\*nat$",
        ),
    ),
    ("nftables", (r"(?:table|chain|add rule) (?:ip|ip6|inet|nat|prerouting|postrouting) ", r"type nat hook ")),
    (
        "Huawei VRP or H3C Comware",
        (
            r"nat (?:outbound|server|static|address-group|alg|instance)\b",
            r"sysname \S",
            r"acl (?:number|name|basic|advanced) ",
        ),
    ),
    (
        "Fortinet FortiOS",
        (r"config (?:firewall|system|router|vpn)\b", r"set (?:srcintf|dstintf|extintf|mappedip|poolname|ippool) "),
    ),
    ("Palo Alto PAN-OS", (r"set (?:rulebase|network|deviceconfig|vsys)\b",)),
    ("VyOS", (r"set nat(?:66)? (?:source|destination) ", r"nat \{$")),
    ("XML", (r"<\?xml ", r"<config\b")),
    ("JSON", (r"[{\[]$", r'"[\w-]+"\s*:')),
)
"""Vendor -> how lines of its language begin."""
_ANY = re.compile("|".join(f"(?P<n{number}>{'|'.join(signs)})" for number, (_, signs) in enumerate(_SIGNS)))


def vendor_of(text: str) -> str | None:
    """Whose language a line without indentation begins in, if it is plainly not IOS's."""
    found = _ANY.match(text)
    return _SIGNS[int(str(found.lastgroup)[1:])][0] if found else None
