"""A change of running nodes, one after the other: planned, judged after every step, and taken back if one fails."""
