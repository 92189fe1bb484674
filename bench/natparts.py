"""The parts of bench/nat.py, and what each is to show."""

CLAIMS = {
    "cases": "every case marked `linux: same` by real packets",
    "failover": "the same answers with a power loss of the Active between the packets of each case",
    "lines": "10 000 lines read, checked and compiled in at most 1 s; time linear in the lines",
    "statics": "100 000 static entries loaded in at most 3 s, one changed in at most 5 ms",
    "throughput": "with 100 000 static entries at least 0.97 of what it is with one",
    "explain": "1 000 random packets over 50 random configurations: all as explained",
    "corpus": "every text judged as its index says",
}
