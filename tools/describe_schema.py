"""Writes what ``affidavit fsck`` expects of a PostgreSQL schema: ``python tools/describe_schema.py URL``.

The database at the URL must have been made by the migrations of this version and nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.schema import describe

FILE = Path(__file__).resolve().parents[1] / "src/affidavit/storage/postgres/schema.json"


def written(url: str, schema: str = "public") -> str:
    """The description of a freshly migrated database as the file has it: partitions are left out."""
    session = connect(Address(url, schema))
    try:
        with session.transaction():
            objects, parts = describe(session)
    finally:
        session.close()
    ours = {name: _in_order(objects[name]) for name in sorted(objects) if name not in parts}
    return json.dumps(ours, indent=1, ensure_ascii=False) + "\n"


def _in_order(facts: dict[str, str]) -> dict[str, str]:
    """The table and its columns as they stand, the rest by name."""
    first = [name for name in facts if name == "table" or name.startswith("column ")]
    return {name: facts[name] for name in (*first, *sorted(facts.keys() - set(first)))}


if __name__ == "__main__":
    FILE.write_text(written(sys.argv[1]), encoding="utf-8")
