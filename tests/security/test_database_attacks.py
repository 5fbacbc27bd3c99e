"""Somebody with the files edits them: what detects each attack, numbered as the cases of the threat model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from affidavit.core.filter import Filter
from affidavit.core.leaf import LEAF_GROUPS, digest_of, parse_remains, salts_of, write_remains
from affidavit.core.merkle import Frontier, leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import home_of, leaf_of
from affidavit.core.times import DAY
from affidavit.export.bundle import Bundles
from affidavit.verifier.command import Asked, verdict_of
from affidavit.wiring import clock
from affidavit.wiring.log import key_file
from tests.mutation import world
from tests.mutation.copies import ENGINES, Copy, PostgresCopy, Raw, SqliteCopy, copy_of

ROW = f"seq, {', '.join(COLUMNS)}"


@pytest.fixture(scope="module", params=ENGINES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A database with a row of every kind."""
    folder = tmp_path_factory.mktemp("attacks")
    with copy_of(request.param, folder, lambda: request.getfixturevalue("postgres")) as copy:
        yield copy


@pytest.fixture
def database(made: Copy) -> Iterator[Copy]:
    """The same, put back as it was after the test."""
    yield made
    made.restore()


def places(database: Copy, action: str = "document.update", organization: str = "acme") -> list[int]:
    """The places of an organization's events of an action."""
    rows = database.rows(
        "SELECT seq FROM affidavit_events WHERE organization = ? AND action = ? ORDER BY seq",
        (organization, action),
    )
    return [seq for (seq,) in rows]


def change(database: Copy, statement: str, *values: Any, file: str = "app.db") -> None:
    """One statement on a file without its rules."""
    with database.edited(file) as connection:
        assert connection.execute(statement, values).rowcount > 0


def assert_named(database: Copy, *parts: str) -> None:
    """One failure has all these parts."""
    named = database.named()
    assert any(all(part in line for part in parts) for line in named), named or "fsck found it sound"


def rebuild(database: Copy, *, publish: Callable[[str, Frontier], bytes] | None = None) -> None:
    """Make the log anew from the rows, as somebody with the database and this program can.

    Args:
        database: whose log.
        publish: makes the newest checkpoint, for somebody who has the key too.
    """
    with database.edited() as app:
        rows = app.execute(f"SELECT {ROW} FROM affidavit_events ORDER BY seq").fetchall()
    pruned = leaves_without_rows(database)
    with_ids = isinstance(database, PostgresCopy)
    with database.edited("app-log.db") as log:
        for tree, organization, host, hex_digits in log.execute(
            "SELECT tree, organization, host, hex FROM affidavit_trees"
        ).fetchall():
            tiles: list[tuple[int, int, bytes]] = []
            frontier = Frontier()
            leaves = []
            own = [row for row in rows if home_of(row[3]) == organization.decode()]
            for seq, event_id, *values in sorted([*own, *pruned.get(tree, ())], key=lambda row: row[0]):
                digest = values[0]
                if len(values) > 1:
                    digest = leaf_hash(leaf_of((event_id, *values), hex_digits.decode()).entry)
                leaves.append((tree, frontier.size, seq, digest, *([event_id] if with_ids else [])))
                frontier.append(digest, lambda *tile, tiles=tiles: tiles.append(tile))
            log.execute("DELETE FROM affidavit_leaves WHERE tree = ?", (tree,))
            names = "tree, idx, seq, hash, id" if with_ids else "tree, idx, seq, hash"
            for leaf in leaves:
                marks = ", ".join("?" * len(leaf))
                log.execute(f"INSERT INTO affidavit_leaves ({names}) VALUES ({marks})", leaf)
            log.execute("DELETE FROM affidavit_tiles WHERE tree = ?", (tree,))
            for tile in tiles:
                log.execute("INSERT INTO affidavit_tiles VALUES (?, ?, ?, ?)", (tree, *tile))
            log.execute(
                "UPDATE affidavit_trees SET size = ?, frontier = ? WHERE tree = ?",
                (frontier.size, b"".join(frontier.hashes), tree),
            )
            _head(log, tree, f"{host.decode()}/{hex_digits.decode()}/1", frontier, publish)
        last = rows[-1]
        log.execute(
            "UPDATE affidavit_position SET seq = ?, id = ?, leaf ="
            " (SELECT hash FROM affidavit_leaves WHERE seq = ?)",
            (last[0], last[1], last[0]),
        )
        if with_ids:
            log.execute("UPDATE affidavit_position SET organization = ?", (last[3].decode(),))


def leaves_without_rows(database: Copy) -> dict[int, list[tuple[int, bytes, bytes]]]:
    """Place, id and hash of each leaf whose row was pruned before anybody attacked, by tree."""
    name = "id" if isinstance(database, PostgresCopy) else "hash"
    places = {seq for (seq,) in database.kept("SELECT seq FROM affidavit_events")}
    found: dict[int, list[tuple[int, bytes, bytes]]] = {}
    for tree, seq, event_id, digest in database.rows(
        f"SELECT tree, seq, {name}, hash FROM affidavit_leaves", part="app-log.db"
    ):
        if seq not in places and seq <= max(places):
            found.setdefault(tree, []).append((seq, event_id, digest))
    return found


def _head(
    log: Raw,
    tree: int,
    origin: str,
    frontier: Frontier,
    publish: Callable[[str, Frontier], bytes] | None,
) -> None:
    log.execute("DELETE FROM affidavit_checkpoints WHERE tree = ? AND size > ?", (tree, frontier.size))
    if publish is not None:
        log.execute("DELETE FROM affidavit_checkpoints WHERE tree = ?", (tree,))
        note = publish(origin, frontier)
        log.execute(
            "INSERT INTO affidavit_checkpoints VALUES (?, ?, ?, ?, ?)",
            (tree, frontier.size, clock(), note, False),
        )
    log.execute(
        "UPDATE affidavit_trees SET kept = (SELECT count(*) FROM affidavit_checkpoints c WHERE c.tree = ?),"
        " published = coalesce((SELECT max(size) FROM affidavit_checkpoints c WHERE c.tree = ?), 0)"
        " WHERE tree = ?",
        (tree, tree, tree),
    )


def signed_by_the_operator(database: Copy) -> Callable[[str, Frontier], bytes]:
    """Checkpoints of somebody who holds the key, too."""
    from affidavit.core.checkpoint import Checkpoint

    keys = key_file(database.settings).load()
    return lambda origin, frontier: keys.note(origin, Checkpoint(origin, frontier.size, frontier.root()).text)


def test_one_byte_of_an_entry(database: Copy) -> None:
    """The leaf of the row no longer is the one in the tree; event and index are named (case 1)."""
    seq = places(database)[7]
    change(
        database,
        "UPDATE affidavit_events SET details = replace(details, 'changed', 'chanced') WHERE seq = ?",
        seq,
    )
    assert_named(database, "affidavit_events", f"seq {seq}", "entry ", "event ", "row or leaf was changed")
    assert database.verdict().failed == 1


def test_only_a_query_column(database: Copy) -> None:
    """A column that repeats a value of a group is compared with it (case 2)."""
    seq = places(database)[3]
    change(database, "UPDATE affidavit_events SET actor_id = 'mallory' WHERE seq = ?", seq)
    assert_named(database, "affidavit_events.actor_id", f"seq {seq}")


@pytest.mark.requirement("R68", "R69", "R120")
def test_a_deleted_event(database: Copy) -> None:
    """Its leaf stands without a row, and no manifest explains that (case 3)."""
    seq = places(database)[5]
    change(database, "DELETE FROM affidavit_events WHERE seq = ?", seq)
    assert_named(database, f"seq {seq}", "is gone and no manifest explains it")


def test_a_deleted_event_and_the_rest_renumbered(database: Copy) -> None:
    """Every later row stands at the place of another leaf (case 4)."""
    seq = places(database)[-4]
    if isinstance(database, PostgresCopy):
        _delete_and_renumber(database, seq)
        assert_named(database, "affidavit_trees.size", "says more leaves than there are")
        assert_named(database, "affidavit_leaves", "the leaf is missing")
        return
    with database.edited() as connection:
        connection.execute("DELETE FROM affidavit_events WHERE seq = ?", (seq,))
        for (later,) in connection.execute(
            "SELECT seq FROM affidavit_events WHERE seq > ? ORDER BY seq", (seq,)
        ).fetchall():
            connection.execute("UPDATE affidavit_events SET seq = ? WHERE seq = ?", (later - 1, later))
    assert_named(database, f"seq {seq}", "row or leaf was changed")


def _delete_and_renumber(database: Copy, seq: int) -> None:
    """Where places stand with the leaves, these move up: event and leaf are gone without a gap."""
    with database.edited() as connection:
        connection.execute("DELETE FROM affidavit_events WHERE seq = ?", (seq,))
        tree, index = connection.execute(
            "SELECT tree, idx FROM affidavit_leaves WHERE seq = ?", (seq,)
        ).fetchone()
        connection.execute("DELETE FROM affidavit_leaves WHERE seq = ?", (seq,))
        later = "SELECT seq, tree, idx FROM affidavit_leaves WHERE seq > ? ORDER BY seq"
        for place, its_tree, its_index in connection.execute(later, (seq,)).fetchall():
            up = int(its_tree == tree and its_index > index)
            connection.execute(
                "UPDATE affidavit_leaves SET seq = ?, idx = ? WHERE seq = ?",
                (place - 1, its_index - up, place),
            )
        connection.execute("UPDATE affidavit_position SET seq = seq - 1")


def test_two_events_change_places(database: Copy) -> None:
    """Both rows are compared with the leaf of the other (case 5)."""
    one, other = places(database)[2:4]
    with database.edited() as connection:
        if isinstance(database, PostgresCopy):
            statement = "UPDATE affidavit_leaves SET id = ? WHERE id = ?"
            ids = [
                connection.execute("SELECT id FROM affidavit_leaves WHERE seq = ?", (seq,)).fetchone()[0]
                for seq in (one, other)
            ]
            changes: tuple[tuple[Any, Any], ...] = (
                (bytes(16), ids[0]),
                (ids[0], ids[1]),
                (ids[1], bytes(16)),
            )
        else:
            statement = "UPDATE affidavit_events SET seq = ? WHERE seq = ?"
            changes = ((-1, one), (one, other), (other, -1))
        for change in changes:
            connection.execute(statement, change)
    assert_named(database, f"seq {one}", "row or leaf was changed")
    assert_named(database, f"seq {other}", "row or leaf was changed")


def test_a_back_dated_event_in_a_log_made_anew(database: Copy) -> None:
    """Leaves, tiles and heads fit, but the signed checkpoint and the guard state other roots (case 6)."""
    seq = places(database)[10]
    change(database, "UPDATE affidavit_events SET recorded_at = recorded_at - 86400000000 WHERE seq = ?", seq)
    rebuild(database)
    assert_named(database, "affidavit_checkpoints.note", "the leaves have another root")
    assert_named(database, "affidavit_guard_heads.root", "the leaves have another root")


def test_a_tail_that_was_never_signed(database: Copy) -> None:
    """Rows cut behind the last checkpoint are missed at once where their leaves stand (case 7).

    Who cuts leaves and rows of the seconds before they were signed, and everything else with them, is seen
    by nobody: the security model says so.
    """
    with world.opened(database.settings) as instance:
        world.insert(instance, "acme", [world.draft(1)])
        world.insert(instance, "acme", [world.draft(2)])
    sequence(database)
    last = places(database)[-1]
    change(database, "DELETE FROM affidavit_events WHERE seq = ?", last)
    assert_named(database, f"seq {last}", "is gone and no manifest explains it")
    rebuild(database)
    named = database.named()
    assert [line for line in named if not line.startswith(("affidavit_index", "affidavit_hourly"))] == []


def sequence(database: Copy) -> None:
    """Give leaves to what waits, and sign nothing."""
    from affidavit.wiring.work import open_parts

    parts = open_parts(database.settings)
    while parts.sequencer.step():
        pass
    parts.close()


def recorded_and_signed(database: Copy) -> list[int]:
    """The places of five events that were recorded and signed just now."""
    with world.opened(database.settings) as instance:
        world.insert(instance, "acme", [world.draft(number, "payment.refund") for number in range(5)])
    world.work(database.settings)
    return places(database, "payment.refund")


def cut(database: Copy, seqs: list[int]) -> None:
    """Cut events off the end of the table."""
    with database.edited() as connection:
        connection.execute("DELETE FROM affidavit_events WHERE seq >= ?", (seqs[0],))


def test_a_tail_that_was_signed(database: Copy) -> None:
    """A log cut before its last checkpoint is smaller than what the guard remembers (case 8)."""
    cut(database, recorded_and_signed(database))
    rebuild(database)
    assert_named(database, "affidavit_guard_heads.size", "more was signed than the log has")


def test_a_tail_cut_and_signed_again(database: Copy) -> None:
    """With the key, too: the smaller checkpoint is good, the guard has seen a greater one."""
    cut(database, recorded_and_signed(database))
    rebuild(database, publish=signed_by_the_operator(database))
    named = database.named()
    assert not [line for line in named if "signature" in line]
    assert_named(database, "affidavit_guard_heads.size", "more was signed than the log has")


def exported(database: Copy, name: str) -> Asked:
    """A bundle of acme as it is now, and the question that an auditor with the key asks about it."""
    path = database.settings.data_dir.parent / name
    with world.opened(database.settings) as instance:
        bundles = Bundles(instance.log, instance.log, instance.entries, instance.reader)
        path.write_bytes(b"".join(bundles.open("acme", Filter()).chunks()))
        (tree,) = instance.log.trees("acme")
    keys = key_file(database.settings).load()
    return Asked(str(path), keys=tuple(key.vkey for key in keys.verifiers(tree.origin)))


def test_a_tail_cut_and_signed_again_for_an_auditor(database: Copy, tmp_path: Path) -> None:
    """Who kept nothing cannot see it and is told so; who kept the older checkpoint is not deceived."""
    recorded = recorded_and_signed(database)
    with ZipFile(exported(database, "before.zip").target) as before:
        (tmp_path / "checkpoint").write_bytes(before.read("checkpoint"))
    cut(database, recorded)
    rebuild(database, publish=signed_by_the_operator(database))
    asked = exported(database, "after.zip")
    alone = verdict_of(asked, int(time.time()))
    assert alone.sound, list(alone.lines())
    assert alone.memory == "signed by the operator only"
    remembered = verdict_of(asked._replace(since=str(tmp_path / "checkpoint")), int(time.time()))
    assert remembered.exit_code == 1
    assert any("checkpoint" in failure.line() for failure in remembered.failures)


def test_an_event_rewritten_and_signed_again(database: Copy) -> None:
    """A new consistent log under the same key contradicts the guard at the size that it remembers."""
    change(database, "UPDATE affidavit_events SET outcome = 'failure' WHERE seq = ?", places(database)[1])
    rebuild(database, publish=signed_by_the_operator(database))
    assert_named(database, "affidavit_guard_heads.root", "another root than the one that was signed")


def test_a_rolled_back_transaction(database: Copy) -> None:
    """It leaves no event, no leaf and no gap in the tree (case 18)."""
    before = database.verdict()

    def attack() -> None:
        with database.plain() as connection:
            connection.execute("INSERT INTO affidavit_meta VALUES ('demo', 'never')")
            connection.execute("DELETE FROM affidavit_tokens")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack()
    world.work(database.settings)
    after = database.verdict()
    assert after.sound
    assert after.end == before.end


def test_a_transaction_that_commits_late(database: Copy) -> None:
    """What was begun earlier and commits later is sequenced when it is there, without a gap (case 19)."""
    before = database.verdict().end
    with world.opened(database.settings) as instance:
        rows = instance.intake.prepare([world.draft(5)], organization="acme", by=None)
        commit = database.late(rows)
    sequence(database)
    assert database.verdict().end == before
    commit()
    world.work(database.settings)
    verdict = database.verdict()
    assert verdict.sound, list(verdict.lines())
    assert verdict.end == before + 1


@pytest.mark.parametrize("column", ["hash", "idx", "level"])
def test_each_tile(database: Copy, column: str) -> None:
    """Every stored tile is computed again (case 26)."""
    tiles = database.rows("SELECT tree, level, idx FROM affidavit_tiles", part="app-log.db")
    assert len(tiles) >= 1
    for tile in tiles:
        with database.edited("app-log.db") as log:
            log.execute(
                f"UPDATE affidavit_tiles SET {column} = {'?' if column == 'hash' else f'{column} + ?'}"
                " WHERE tree = ? AND level = ? AND idx = ?",
                (bytes(32) if column == "hash" else 1, *tile),
            )
        assert_named(database, "affidavit_tiles", ", ".join(map(str, tile)))
        database.restore()


def test_an_event_moved_to_another_tenant(database: Copy) -> None:
    """The leaf holds the origin: a row under another organization is not its event (case 46)."""
    seq = places(database)[4]
    change(database, "UPDATE affidavit_events SET organization = 'globex' WHERE seq = ?", seq)
    assert_named(database, "affidavit_events.organization", f"seq {seq}", "another organization's tree")


def redact_by_hand(database: Copy, seq: int, gone: tuple[str, ...]) -> None:
    """Take groups away as the program does it, so that the leaf stays the same, for no reason on record."""
    with database.edited() as connection:
        secret, *texts = connection.execute(
            f"SELECT secret, {', '.join(LEAF_GROUPS)} FROM affidavit_events WHERE seq = ?", (seq,)
        ).fetchone()
        left = {
            group: ("digest", digest_of(salt, group, text)) if group in gone else ("salt", salt)
            for salt, group, text in zip(salts_of(secret), LEAF_GROUPS, texts, strict=True)
        }
        nulls = "".join(f", {group} = NULL" for group in gone) + (
            ", actor_id = NULL" if "actor" in gone else ""
        )
        connection.execute(
            f"UPDATE affidavit_events SET secret = NULL, remains = ?{nulls} WHERE seq = ?",
            (write_remains(left).decode(), seq),
        )


def test_a_redaction_without_its_event(database: Copy) -> None:
    """The digests are right and every proof holds, but nothing explains the missing value (case 56)."""
    seq = places(database)[6]
    redact_by_hand(database, seq, ("details",))
    assert_named(database, "affidavit_events.details", f"seq {seq}", "neither a manifest nor a policy")


def test_an_erasure_that_was_not_carried_out(database: Copy) -> None:
    """A value that a completed erasure states as gone, and that stands, is named (case 57)."""
    seq = places(database, "invoice.pay")[-1]
    kept = [
        place for place, secret in database.kept("SELECT seq, secret FROM affidavit_events") if secret is None
    ]
    assert seq in kept, "the newest payment is one of the erased person's"
    with world.opened(database.settings) as instance:
        ids = world.insert(instance, "acme", [world.by_person("u-late", world.draft(77, "invoice.pay"))])
    world.work(database.settings)
    row = stored(database, ids[0])
    world.erase(database.settings, "acme", "u-late")
    assert database.verdict().sound
    put_back(database, ids[0], row)
    assert_named(database, "affidavit_events", "manifest ", "values stand that an erasure states as gone")


def stored(database: Copy, event_id: str) -> dict[str, Any]:
    """The columns of an event."""
    (row,) = database.rows(
        f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE id = ?",
        (bytes.fromhex(event_id.replace("-", "")),),
    )
    return {**dict(zip(COLUMNS, row, strict=True)), "imported": bool(row[COLUMNS.index("imported")])}


def put_back(database: Copy, event_id: str, row: dict[str, Any]) -> None:
    """Give an event the columns that it had."""
    columns = ", ".join(f"{column} = ?" for column in COLUMNS)
    change(
        database,
        f"UPDATE affidavit_events SET {columns} WHERE id = ?",
        *row.values(),
        bytes.fromhex(event_id.replace("-", "")),
    )


def test_values_swapped_between_events(database: Copy) -> None:
    """Salts are those of one event and group: another event's text does not open its digest (case 58)."""
    one, other = places(database)[8:10]
    with database.edited() as connection:
        texts = [
            connection.execute("SELECT details FROM affidavit_events WHERE seq = ?", (seq,))
            .fetchone()[0]
            .decode()
            for seq in (one, other)
        ]
        for seq, text in ((one, texts[1]), (other, texts[0])):
            connection.execute("UPDATE affidavit_events SET details = ? WHERE seq = ?", (text, seq))
    assert_named(database, f"seq {one}", "row or leaf was changed")
    assert_named(database, f"seq {other}", "row or leaf was changed")


def test_values_swapped_within_an_event(database: Copy) -> None:
    """Two groups of one event with each other's text (case 58)."""
    seq = places(database)[8]
    change(database, "UPDATE affidavit_events SET context = changes, changes = context WHERE seq = ?", seq)
    assert_named(database, f"seq {seq}", "row or leaf was changed")


def test_a_secret_used_twice(database: Copy) -> None:
    """Two events with one secret share their salts; both places are named (case 59)."""
    one, other = places(database)[11:13]
    with database.edited() as connection:
        connection.execute(
            "UPDATE affidavit_events SET secret ="
            " (SELECT secret FROM affidavit_events WHERE seq = ?) WHERE seq = ?",
            (one, other),
        )
    assert_named(database, "affidavit_events.secret", f"seq {other}", "is the secret of another event too")


def test_a_secret_deleted_in_sql(database: Copy) -> None:
    """Without its secret no digest opens: the row no longer gives its leaf."""
    seq = places(database)[14]
    if isinstance(database, SqliteCopy):  # the other engine's CHECK refuses it from everybody
        change(database, "UPDATE affidavit_events SET secret = NULL WHERE seq = ?", seq)
        assert_named(database, "affidavit_events", f"seq {seq}", "row or leaf was changed")
        database.restore()
    redact_by_hand(database, seq, LEAF_GROUPS)
    assert_named(database, f"seq {seq}", "neither a manifest nor a policy")


def test_changes_erased_and_passed_off_as_context(database: Copy) -> None:
    """A manifest explains the groups that it names, of the entries that it names, and no other."""
    with world.opened(database.settings) as instance:
        ids = world.insert(instance, "acme", [world.by_person("u-other", world.draft(78, "invoice.void"))])
    world.work(database.settings)
    seq = places(database, "invoice.void")[0]
    world.erase(database.settings, "acme", "u-other")
    row = stored(database, ids[0])
    assert row["actor"] is None
    assert row["changes"] is not None
    assert database.verdict().sound
    _take(database, seq, "changes")
    assert_named(database, "affidavit_events.changes", f"seq {seq}", "neither a manifest nor a policy")


def _take(database: Copy, seq: int, group: str) -> None:
    """Take one more group of an event that has lost another."""
    with database.edited() as connection:
        remains, text = connection.execute(
            f"SELECT remains, {group} FROM affidavit_events WHERE seq = ?", (seq,)
        ).fetchone()
        left = parse_remains(remains)
        left[group] = ("digest", digest_of(left[group][1], group, text))
        connection.execute(
            f"UPDATE affidavit_events SET remains = ?, {group} = NULL WHERE seq = ?",
            (write_remains(left).decode(), seq),
        )


def test_an_event_expired_early(database: Copy) -> None:
    """All groups gone as after an expiry, but the policy on record did not let this event expire."""
    seq = places(database)[15]
    redact_by_hand(database, seq, LEAF_GROUPS)
    assert_named(database, f"seq {seq}", "neither a manifest nor a policy")
    assert database.verdict().expired == 5


def test_an_expiry_that_invents_its_policy(database: Copy) -> None:
    """An expiry counts only with the policy that was in force; one with another is named itself."""
    seq = places(database)[15]
    with world.opened(database.settings) as instance:
        forged = instance.access_events.rows(
            "audit.retention.expired", world.OPERATOR, ("acme",), facts={"policy": "document.*=1"}
        )
        instance.insert(forged)
        old = world.insert(instance, "acme", [world.draft(1)], age=3 * DAY)
    world.work(database.settings)
    assert_named(database, "affidavit_events.facts", "another policy than the one in force")
    redact_by_hand(database, seq, LEAF_GROUPS)
    assert_named(database, f"seq {seq}", "neither a manifest nor a policy")
    assert old


@pytest.mark.parametrize("beside", [0, 1])
def test_pruned_beyond_the_manifest(database: Copy, beside: int) -> None:
    """Of rows that are gone only those in the range that a manifest states are explained (case 62)."""
    assert database.verdict().pruned == 4
    left = places(database, "session.begin")
    seq = left[0] if beside == 0 else left[-1]
    change(database, "DELETE FROM affidavit_events WHERE seq = ?", seq)
    assert_named(database, f"seq {seq}", "is gone and no manifest explains it")
    assert database.verdict().pruned == 4


def test_a_dropped_trigger(database: Copy) -> None:
    """The rules that keep the table append-only are part of what is checked."""
    on_table = isinstance(database, PostgresCopy)
    name = "affidavit_events_keep" if on_table else "affidavit_events_update"
    with database.plain() as connection:
        connection.execute(f"DROP TRIGGER {name}" + (" ON affidavit_events" if on_table else ""))
    assert_named(database, name, "is missing from the schema")


def test_a_trigger_of_somebody_else(database: Copy) -> None:
    """A trigger on our table is named; tables of the application beside ours are not looked at."""
    with database.plain() as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY)")
    assert database.verdict().sound
    with database.plain() as connection:
        if isinstance(database, PostgresCopy):
            connection.execute(
                "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN DELETE FROM affidavit_logins; RETURN NULL; END $$"
            )
            connection.execute(
                "CREATE TRIGGER quiet AFTER INSERT ON affidavit_tokens FOR EACH ROW EXECUTE FUNCTION quiet()"
            )
        else:
            connection.execute(
                "CREATE TRIGGER quiet AFTER INSERT ON affidavit_tokens"
                " BEGIN DELETE FROM affidavit_logins; END"
            )
    assert_named(database, "quiet", "no migration makes it")


def test_a_token_made_in_sql(database: Copy) -> None:
    """A credential that no event made is named, and so is one that was given more than its event says."""
    with database.edited() as connection:
        connection.execute(
            "INSERT INTO affidavit_tokens SELECT 'tok_0000000000000000', name, ?, organizations,"
            " abilities, created_at, created_by, expires_at, NULL, NULL FROM affidavit_tokens LIMIT 1",
            (bytes(32),),
        )
    assert_named(database, "affidavit_tokens", "tok_0000000000000000", "was made without an event")
    database.restore()
    change(database, "UPDATE affidavit_tokens SET revoked_at = NULL WHERE revoked_at IS NOT NULL")
    assert_named(database, "affidavit_tokens.revoked_at", "was changed without an event")


def test_a_setting_whose_event_lost_its_values(database: Copy) -> None:
    """What an erasure took from the events of a setting cannot be replayed: it is said, and is no failure."""
    with world.opened(database.settings) as instance:
        instance.tokens.create(
            name="u-short", organizations=("acme",), abilities=("events:write",), by=world.OPERATOR
        )
    world.work(database.settings)
    world.erase(database.settings, "acme", "u-short")
    verdict = database.verdict()
    assert verdict.sound, list(verdict.lines())
    assert any("could not be replayed" in text for text in verdict.warnings)


@pytest.mark.parametrize("made", ["sqlite"], indirect=True)
def test_a_damaged_page(database: Copy) -> None:
    """Bytes of a page overwritten are a finding with a name, never a traceback."""
    path = database.path("app.db")
    content = bytearray(path.read_bytes())
    at = len(content) // 2
    content[at : at + 64] = b"\xff" * 64
    path.write_bytes(content)
    assert database.verdict().exit_code == 1


def test_without_a_key_nothing_is_called_sound(database: Copy) -> None:
    """Signatures that nobody can check make the verdict "could not be checked", not "sound"."""
    database.path("log.key").unlink()
    verdict = database.verdict()
    assert verdict.exit_code == 2
    assert not verdict.sound
