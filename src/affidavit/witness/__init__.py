"""A witness (c2sp.org/tlog-witness): the memory of logs on a host that their operators do not control.

It knows of each log only its origin, size and root, never an event, and signs that nothing it has seen
contradicts a checkpoint.
"""
