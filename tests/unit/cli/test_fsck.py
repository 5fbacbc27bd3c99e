"""``affidavit fsck``: its answer, its exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mutation import world
from tests.mutation.edit import edited

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Run


@pytest.fixture
def database(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder with a database of two organizations, and the flags that name it."""
    folder = tmp_path / "database"
    folder.mkdir()
    settings = world.settings_in(folder)
    with world.opened(settings) as instance:
        world.insert(instance, "acme", [world.draft(number) for number in range(3)])
        world.insert(instance, "globex", [world.draft(number) for number in range(2)])
    world.work(settings)
    return folder, ["--database", f"sqlite:///{folder}/app.db", "--data-dir", str(folder)]


def test_a_sound_database(run: Run, database: tuple[Path, list[str]]) -> None:
    """Exit code 0; one JSON object with the sum and each organization's own verdict."""
    done = run("fsck", *database[1])
    (found,) = done.documents
    assert done.code == 0
    assert found["sound"] is True
    assert (found["verified"], found["failed"], found["pending"]) == (5, 0, 0)
    assert [each["organization"] for each in found["organizations"]] == ["acme", "globex"]
    assert [each["verified"] for each in found["organizations"]] == [3, 2]
    assert all(each["signed_by"] for each in found["organizations"])


def test_what_waits_for_its_leaf_is_counted(run: Run, database: tuple[Path, list[str]]) -> None:
    """Pending events are no fault."""
    with world.opened(world.settings_in(database[0])) as instance:
        world.insert(instance, "acme", [world.draft(9)])
    done = run("fsck", *database[1])
    assert done.code == 0
    assert done.documents[0]["pending"] == 1


def test_an_edited_database(run: Run, database: tuple[Path, list[str]]) -> None:
    """Exit code 1; the failure has the entry's index, the event's id, the rule and both hashes."""
    with edited(database[0] / "app.db") as connection:
        connection.execute("UPDATE affidavit_events SET action = 'document.delete' WHERE seq = 2")
    done = run("fsck", *database[1])
    assert done.code == 1
    first = done.documents[0]["failures"][0]
    assert first["index"] == 1
    assert len(first["id"]) == 36
    assert "affidavit_events (seq 2)" in first["what"]
    assert len(first["expected"]) == len(first["computed"]) == 64
    text = run("fsck", "--no-json", *database[1])
    assert text.code == 1
    assert text.out.startswith("NOT SOUND\n")


def test_what_cannot_be_checked(run: Run, database: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Exit code 2 without a key, with one of somebody else's named as such, and without a database."""
    folder, flags = database
    key = (folder / "log.key").read_bytes()
    (folder / "log.key").unlink()
    done = run("fsck", *flags)
    assert done.code == 2
    assert done.documents[0]["sound"] is False
    assert "--key" in done.documents[0]["not_checked"]
    (folder / "log.key").write_bytes(key)
    assert run("fsck", "--key", "nonsense", *flags).code == 2
    missing = run("fsck", "--database", f"sqlite:///{tmp_path}/none.db", "--data-dir", str(folder))
    assert missing.code == 2
    assert "affidavit migrate" in missing.err
