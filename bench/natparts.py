"""The parts of bench/nat.py: what each is to show, and which texts it is given."""

CLAIMS = {
    "cases": "every case marked `linux: same` by real packets",
    "failover": "the same answers with a power loss of the Active between the packets of each case",
    "lines": (
        "10 000 lines read, checked and compiled in at most 1 s; time linear in the lines: "
        "of a text a hundred times as long a line costs at most twice as much"
    ),
    "statics": "100 000 static entries loaded in at most 3 s, one changed in at most 5 ms",
    "throughput": "with 100 000 static entries at least 0.97 of what it is with one",
    "explain": "1 000 random packets over 50 random configurations: all as explained",
    "corpus": "every text judged as its index says",
}
CASES, CORPUS = "UNDERSTUDY_NAT_CASES", "UNDERSTUDY_NAT_CORPUS"
GIVEN = {"cases": (CASES, "FILE:FILE"), "failover": (CASES, "FILE:FILE"), "corpus": (CORPUS, "INDEX.tsv")}
"""Parts that can be given texts which are not in this repository: by which variable, and what it holds."""


def foreign(part: str, case: str) -> bool:
    """Whether a row's text is not in this repository."""
    return part in GIVEN and not case.startswith("examples/")


def command(part: str, shown: str, cases: list[str]) -> str:
    """A command as it was given these cases: with the variable, without which other texts are measured, or none."""
    if not any(foreign(part, case) for case in cases):
        return shown
    name, holds = GIVEN[part]
    return f"{name}={holds} {shown}"
