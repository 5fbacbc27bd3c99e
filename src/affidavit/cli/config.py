"""``affidavit config``: every setting, its value, and where the value came from."""

from __future__ import annotations

from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import Json, print_json, print_table, wants_json
from affidavit.config import shown

__all__ = ["command"]


def command(*, json: Json = None, settings: Serving = SERVING_NOTHING_GIVEN) -> None:
    """Show each setting, its value and where the value came from; secrets are masked."""
    loaded = settings.load()
    rows = [
        (name, shown(name, getattr(loaded.settings, name)), source) for name, source in loaded.sources.items()
    ]
    if wants_json(json):
        for name, value, source in rows:
            print_json({"setting": name, "value": value, "source": source})
        return
    print_table(
        ("Setting", "Value", "Source"),
        [(name, value, (source, "dim" if source == "default" else "green")) for name, value, source in rows],
        empty="",
    )
