"""The lab: the file's nodes as network namespaces on one machine, with clients, servers and a switch around them.

sandbox    a private world (user, mount, pid and network namespaces) that dies with its first process
namespace  one machine's network stack, held by a file descriptor
netlink    links, addresses and routes in batches
topology   plan -> hosts, ports, routes (pure)
build      topology -> a running Lab, with its faults
server     what answers in it
state      the directory of a lab that stays up
"""
