"""The log key: its file, what it signs, and its replacement with overlap."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.core.checkpoint import Checkpoint, open_checkpoint
from affidavit.core.note import parse_note
from affidavit.core.unsound import Malformed, UnknownSigner
from affidavit.errors import KeyMissing, KeyUnusable
from affidavit.log.keys import BEGUN, RETIRED, SIGNING, KeyFile
from affidavit.log.rotation import Statement, announce_new, retire, rotate
from affidavit.wiring.log import key_file, newest_trees
from tests.sealed import World, check, notes_of

ORIGIN = "log.example/" + "a" * 32 + "/1"
TEXT = Checkpoint(ORIGIN, 7, b"r" * 32).text


class Random:
    """Seeds that differ, and are the same in every run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return sha256(str(self.count).encode()).digest()[:size]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    """A file with one key."""
    made = KeyFile(tmp_path / "log.key", Random(), lambda: 1_790_000_000_000_000)
    made.create()
    return made


def again(keys: KeyFile) -> KeyFile:
    """The same file, read by another process."""
    return KeyFile(keys.path, Random(), lambda: 0)


class TestFile:
    def test_it_is_made_whole_and_private(self, keys: KeyFile) -> None:
        """Mode 0600, one key that signs, read again the same; nothing is left beside it."""
        assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
        assert [each.name for each in keys.path.parent.iterdir()] == ["log.key"]
        assert again(keys).load().keys == keys.load().keys
        assert [key.state for key in keys.load().keys] == [SIGNING]

    def test_making_it_again_changes_nothing(self, keys: KeyFile) -> None:
        """Of two processes that start at once one key counts."""
        before = keys.path.read_bytes()
        assert again(keys).create().keys == keys.load().keys
        assert keys.path.read_bytes() == before

    def test_a_missing_file_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        """No key is made on the way."""
        missing = KeyFile(tmp_path / "log.key", Random(), lambda: 0)
        with pytest.raises(KeyMissing, match="affidavit log key create"):
            missing.load()
        assert not missing.exists()

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
    def test_a_file_that_others_can_read_is_refused(self, keys: KeyFile, mode: int) -> None:
        """The error says how to mend it, and it holds once that is done."""
        keys.path.chmod(mode)
        with pytest.raises(KeyUnusable, match=f"chmod 600 {keys.path}"):
            again(keys).load()
        with pytest.raises(KeyUnusable):
            keys.load()
        keys.path.chmod(0o600)
        assert keys.load().newest

    def test_every_part_of_a_file_is_refused(self, keys: KeyFile) -> None:
        """A half-written file, cut anywhere, is never taken for a key."""
        whole = keys.path.read_bytes()
        for length in range(len(whole) - 1):
            keys.path.write_bytes(whole[:length])
            with pytest.raises(KeyUnusable, match="damaged or only half there"):
                again(keys).load()

    def test_every_changed_byte_is_refused(self, keys: KeyFile) -> None:
        """The checksum covers the whole of it."""
        whole = keys.path.read_bytes()
        for at in range(len(whole) - 1):
            keys.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(KeyUnusable):
                again(keys).load()

    def test_a_link_is_refused(self, keys: KeyFile, tmp_path: Path) -> None:
        """The file itself must stand under the name."""
        keys.path.rename(tmp_path / "elsewhere")
        keys.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyUnusable, match="cannot be read"):
            again(keys).load()

    def test_nothing_shows_the_private_half(self, keys: KeyFile) -> None:
        """Neither the text of a key nor that of an error."""
        key = keys.load().newest
        assert key.seed is not None
        assert key.seed.hex() not in repr(keys.load().keys)
        assert repr(key.seed) not in repr(key)

    def test_another_process_is_followed(self, keys: KeyFile) -> None:
        """A running worker signs with a new key as soon as its file stands there."""
        other = again(keys)
        before = other.load().newest
        keys.begin()
        assert other.load().newest != before


class TestSigning:
    def test_what_it_signs_is_opened_with_its_verifier_key(self, keys: KeyFile) -> None:
        """By the verifier's own code, under the origin as the key's name."""
        note = keys.load().note(ORIGIN, TEXT)
        opened = open_checkpoint(note, keys.load().verifiers(ORIGIN), origin=ORIGIN)
        assert opened.checkpoint == Checkpoint(ORIGIN, 7, b"r" * 32)
        assert keys.load().note(ORIGIN, TEXT) == note

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.removesuffix("\n"),
            TEXT.replace("/1\n", "/2\n"),
            f"\n{TEXT}",
            "",
            "hello\n",
            f"affidavit-manifest/v1\n{ORIGIN}2\nerasure\nx\n",
            f"affidavit-manifest/v2\n{ORIGIN}\nerasure\nx\n",
            f"cosignature/v1\ntime 1\n{TEXT}",
        ],
    )
    def test_it_signs_nothing_but_notes_of_the_origin(self, keys: KeyFile, text: str) -> None:
        """No text of another log, kind or form gets a signature."""
        with pytest.raises(Malformed):
            keys.load().sign(ORIGIN, text)


class TestRotation:
    def test_both_sign_until_the_old_one_is_retired(self, keys: KeyFile) -> None:
        """Attack case 43: whoever knows one of the two keys can open every checkpoint of the overlap."""
        (old,) = keys.load().verifiers(ORIGIN)
        rotate(keys, [], lambda _: None)
        (_, new) = keys.load().verifiers(ORIGIN)
        overlap = keys.load().note(ORIGIN, TEXT)
        for key in (old, new):
            assert open_checkpoint(overlap, [key]).signers == (key,)
        keys.retire(keys.load().of_state(SIGNING)[:-1])
        later = again(keys).load().note(ORIGIN, Checkpoint(ORIGIN, 8, b"s" * 32).text)
        assert open_checkpoint(later, [new]).signers == (new,)
        with pytest.raises(UnknownSigner):
            open_checkpoint(later, [old])

    def test_a_retired_key_has_lost_its_private_half_and_is_still_known(self, keys: KeyFile) -> None:
        """What it signed can be checked; nothing can be signed with it."""
        (old,) = keys.load().verifiers(ORIGIN)
        seed = keys.load().newest.seed
        assert seed is not None
        keys.begin()
        keys.announced()
        keys.retire(keys.load().of_state(SIGNING)[:-1])
        assert [key.state for key in again(keys).load().keys] == [RETIRED, SIGNING]
        assert old in again(keys).load().verifiers(ORIGIN)
        from base64 import b64encode

        assert b64encode(seed) not in keys.path.read_bytes()

    def test_the_newest_key_cannot_be_retired(self, keys: KeyFile) -> None:
        """There is always one that signs."""
        with pytest.raises(KeyUnusable):
            keys.retire(list(keys.load().keys))
        assert keys.load().newest.state == SIGNING

    def test_a_rotation_that_was_stopped_goes_on_with_the_same_key(self, keys: KeyFile) -> None:
        """The key signs before its events are recorded; doing it again makes no third one."""

        def stopped(_statements: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rotate(keys, [], stopped)
        assert [key.state for key in keys.load().keys] == [SIGNING, BEGUN]
        assert len(parse_note(keys.load().note(ORIGIN, TEXT)).signatures) == 2
        with pytest.raises(KeyUnusable, match="finish it first"):
            retire(keys, [], None, lambda _: None)  # type: ignore[arg-type]
        begun = keys.load().newest
        assert rotate(keys, [], lambda _: None).public == begun.public
        assert [key.state for key in keys.load().keys] == [SIGNING, SIGNING]


class TestInTheLogs:
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        """Two logs with a checkpoint each."""
        made = World(tmp_path / "data")
        made.record("acme", "acme", "beta")
        made.work()
        yield made
        made.close()

    def test_every_log_says_so_and_has_both_signatures_at_once(self, world: World) -> None:
        """Old and new key id under the log's own name, and the size, as clear facts."""
        keys = key_file(world.settings)
        before = {tree.organization: tree for tree in newest_trees(world.database)}
        rotate(keys, list(before.values()), world.record_all())
        world.work()
        check(world)
        for organization, tree in before.items():
            old, new = keys.load().verifiers(tree.origin)
            (event,) = (
                event
                for event in world.events()
                if event.action == "log.key.rotated" and event.organization == organization
            )
            assert json.loads(event.facts or "") == {
                "new": new.key_id.hex(),
                "old": old.key_id.hex(),
                "size": tree.size,
            }
            newest = max(
                (note for note in notes_of(world.log_path) if note.origin == tree.origin),
                key=lambda note: note.size,
            )
            assert [each[:4] for each in newest.signatures] == [old.key_id, new.key_id]

    def test_the_old_key_goes_only_when_the_new_one_has_signed_every_log(self, world: World) -> None:
        """Nobody who took over the new verifier key is left with a checkpoint that he cannot open."""
        keys = key_file(world.settings)
        with pytest.raises(KeyUnusable, match="only one"):
            retire(keys, newest_trees(world.database), world.database.log, world.record_all())
        rotate(keys, newest_trees(world.database), world.record_all())
        with pytest.raises(KeyUnusable, match="not signed by the new key yet"):
            retire(keys, newest_trees(world.database), world.database.log, world.record_all())
        world.work()
        (gone,) = retire(keys, newest_trees(world.database), world.database.log, world.record_all())
        world.work()
        check(world)
        said = [event for event in world.events() if event.action == "log.key.retired"]
        assert {event.organization for event in said} == {"acme", "beta"}
        tree = world.database.log.trees("acme")[-1]
        assert json.loads(said[0].facts or "")["old"] == gone.verifier(tree.origin).key_id.hex()

    def test_a_lost_key_stops_signing_and_is_not_replaced_in_silence(self, world: World) -> None:
        """Recording and sequencing go on; a new key is made on a person's word and said in every log."""
        keys = key_file(world.settings)
        seen = notes_of(world.log_path)
        keys.path.rename(keys.path.with_name("away"))
        world.record("acme")
        world.restart()
        assert world.work() == 0
        assert world.kinds() == [("log_key", "")]
        assert notes_of(world.log_path) == seen
        assert not keys.exists()
        made = keys.create().newest
        statements: list[Statement] = []
        announce_new(made, newest_trees(world.database), statements.extend)
        assert {each.facts["old"] for each in statements} == {""}
        assert world.work() == 1
        assert world.kinds() == []

    def test_a_key_that_others_can_read_stops_signing(self, world: World) -> None:
        """It is named, and signing goes on once the mode is right."""
        keys = key_file(world.settings)
        keys.path.chmod(0o644)
        world.record("acme")
        assert world.work() == 0
        assert world.kinds() == [("log_key", "")]
        assert "chmod 600" in world.alarms()[0].text
        keys.path.chmod(0o600)
        assert world.work() == 1
        assert world.kinds() == []
        check(world)
