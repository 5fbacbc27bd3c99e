"""``affidavit fsck``: derives everything anew and names what differs (docs/spec/coverage.md)."""

from affidavit.log.fsck.findings import Findings
from affidavit.log.fsck.run import Stores, fsck

__all__ = ["Findings", "Stores", "fsck"]
