"""Taking events in from other programs' files: reading, mapping, running an import.

Knows the event (:mod:`affidavit.core`) and a function that records a batch; knows no database and no server.
"""
