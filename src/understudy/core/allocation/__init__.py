"""Addresses of NAT pools without overload: who gets which, for how long, and what becomes of packets that wait for one.

records     an entry of the table, and what the replica is told of it
pool        one pool: free addresses in ascending order, and when they will be used up
events      what happens to the allocator
effects     what it wants done
machine     the deciding machine
"""
