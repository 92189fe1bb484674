"""Understudy: redundancy for gateways, load balancers and databases on Linux, from one file."""

__version__ = "0.1.0.dev0"
