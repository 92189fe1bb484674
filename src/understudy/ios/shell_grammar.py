"""What may be said at which prompt. Commands of NAT are those of `commands`; here are the ones around them.

Every mode is one grammar, so that abbreviations, `?`, tab and the place of an error come from one tree. Blocks whose
lines have grammars of their own (pools, lists, interfaces) take those.
"""

from dataclasses import dataclass, field
from typing import Any

from understudy.ios import commands
from understudy.ios.grammar import Form, Grammar


@dataclass(frozen=True, slots=True)
class Order:
    """What a line asks for, and the words and values that it says."""

    what: str
    values: dict[str, Any] = field(default_factory=dict)


def _order(*, what: str, **values: Any) -> Order:
    return Order(what, values)


def _form(pattern: str, what: str, **more: Any) -> Form:
    return Form(pattern, _order, (), {"what": what, **more})


_COMMITS = (
    _form("commit", "commit"),
    _form("commit now", "commit", now=True),
    _form("commit drain <drain:name>", "commit"),
)
"""Flows of what is removed go on, or end at once, or after a while."""


EXEC = Grammar(
    [
        _form("show ip nat translations <words:rest>", "translations"),
        _form("show ip nat statistics <words:rest>", "statistics"),
        _form("show ip nat pool name <name:name> <words:rest>", "pool"),
        _form("show running-config <words:rest>", "running"),
        _form("show startup-config <words:rest>", "startup"),
        _form("show changes", "changes"),
        _form("show history", "history"),
        _form("clear ip nat translation <words:rest>", "clear"),
        _form("explain <words:rest>", "explain"),
        _form("configure terminal", "configure"),
        *_COMMITS,
        _form("write memory", "commit"),
        _form("copy running-config startup-config", "commit"),
        _form("write", "commit"),
        _form("abort", "abort"),
        _form("exit", "exit"),
        _form("logout", "exit"),
        _form("quit", "exit"),
        _form("end", "end"),
        _form("enable", "nothing"),
        _form("terminal <words:rest>", "nothing"),
        _form("help", "help"),
    ]
)
"""At the first prompt, and behind `do`."""

_MOVES = (
    ("exit", "exit"), ("end", "end"), ("abort", "abort"), ("do <words:rest>", "do"), ("show <words:rest>", "show"),
    ("help", "help"),
)  # fmt: skip
_HEADS = (
    "interface <name:interface>",
    "access-list <list:list> <words:rest>",
    "ip access-list standard <list:list>",
    "ip access-list extended <list:list>",
    "route-map <name:name>",
    "route-map <name:name> permit",
    "route-map <name:name> deny",
    "route-map <name:name> permit <sequence:sequence>",
    "route-map <name:name> deny <sequence:sequence>",
    "object-group network <name:name>",
    "object-group service <name:name>",
    "ip route <words:rest>",
)
CONFIG = Grammar(
    [
        *commands.NAT.forms,
        *(_form(pattern, "head") for pattern in _HEADS),
        *(_form(pattern, what) for pattern, what in _MOVES),
        *_COMMITS,
    ]
)
"""Global configuration."""


def _block(*forms: Form) -> Grammar:
    return Grammar([*forms, *(_form(pattern, what) for pattern, what in _MOVES), *_COMMITS])


@dataclass(frozen=True, slots=True)
class Block:
    """A mode below global configuration."""

    prompt: str
    grammar: Grammar
    list_: bool = False
    """Its lines may begin with a sequence number."""


_LINE = "line"
SEQUENCE = Grammar([_form("<sequence:sequence>", _LINE)])
"""An entry of a list by its place alone, behind `no`."""
_REMARK = _form("remark <words:rest>", _LINE)
BLOCKS = {
    "in_interface": Block(
        "config-if", _block(*(form for form in commands.INTERFACE.forms if form.make is commands.make_role))
    ),
    "_in_pool": Block("config-ipnat-pool", _block(*commands.POOL.forms)),
    "_in_stateful": Block("config-ipnat-snat", _block(*commands.STATEFUL.forms)),
    "standard": Block("config-std-nacl", _block(_REMARK, *commands.STANDARD.forms), list_=True),
    "extended": Block("config-ext-nacl", _block(_REMARK, *commands.EXTENDED.forms), list_=True),
    "_in_route_map": Block(
        "config-route-map",
        _block(
            *(_form(pattern, _LINE) for pattern in
              ("match ip address <words:rest>", "match ip next-hop <words:rest>", "match interface <words:rest>",
               "set <words:rest>", "description <words:rest>", "continue <words:rest>"))
        ),
    ),
    "_in_group": Block(
        "config-group",
        _block(
            *(_form(pattern, _LINE) for pattern in
              ("host <words:rest>", "range <words:rest>", "group-object <words:rest>", "description <words:rest>",
               "tcp <words:rest>", "udp <words:rest>", "tcp-udp <words:rest>", "icmp <words:rest>",
               "<words:rest>"))
        ),
    ),
}  # fmt: skip
"""By the name of who takes the lines of the block (`lines.State.mode`); lists by their kind."""
