"""``affidavit verify``: checks evidence without a server, a database or a package, and without the network.

The modules here open files and sockets; everything that they decide with is in the verifier's modules of
:mod:`affidavit.core`. All of them import the standard library and each other only, so that ``make build``
can put them into one file that runs with nothing but Python (docs/spec/verification.md).
"""
