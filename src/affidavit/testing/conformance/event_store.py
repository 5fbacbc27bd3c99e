"""The suite of the role ``EventStore``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import msgspec
import pytest

from affidavit.core.event import Actor, Change, RecordedBy
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.errors import IdConflict
from affidavit.recorder.intake import Rights
from affidavit.testing.author import NOW, Author, Clock, draft
from affidavit.testing.conformance.suite import Suite, at_once, seal
from affidavit.testing.engine import Engine, Stores

__all__ = ["EventStoreSuite"]


def everything(stores: Stores) -> list[StoredEvent]:
    """All events in recording order, once they have their places."""
    seal(stores)
    return stores.events.after(0, 100_000)


class EventStoreSuite(Suite):
    """Insert, read by id, read in recording order."""

    def test_an_empty_store_has_nothing(self, stores: Stores) -> None:
        """No events, no organizations, place 0."""
        assert everything(stores) == []
        assert stores.events.last_seq() == 0
        assert stores.events.organizations() == []
        assert stores.events.insert([]) == []

    def test_what_was_inserted_is_there_after_opening_anew(
        self, engine: Engine, database: str, stores: Stores, author: Author
    ) -> None:
        """Every column comes back as it went in, to the byte."""
        row = author.row(
            "team.update",
            actor=Actor(type="user", id="İ-ß", name='Ana \\ "x"', email="A@X.io"),
            project="p-1",
            changes={"größe": Change(old=[1, {"b": 1, "a": "\u2028"}], new=None)},
            metadata={"z": 10**30, "a": {"ü": [True, None, "\x01"]}},
            parent_id=UUID(bytes=make_id(NOW, 1)),
        )
        assert stores.events.insert([row]) == [Recorded(row.id, False)]
        stores.close()
        (event,) = everything(engine.open(database))
        stored = {name: getattr(event, name) for name in COLUMNS}
        assert stored == {**dict(zip(COLUMNS, row.values, strict=False)), "recorded_at": NOW}

    def test_recorded_at_is_the_clock_of_the_store(
        self, stores: Stores, author: Author, clock: Clock
    ) -> None:
        """A row that brings no moment gets that of the insert, one that brings its own keeps it."""
        row = author.row()
        clock.forward(5)
        own = msgspec.structs.replace(author.row(), recorded_at=NOW - 7)
        stores.events.insert([row, own])
        assert [event.recorded_at for event in everything(stores)] == [NOW + 5, NOW - 7]

    def test_a_repeat_is_a_duplicate_and_is_not_stored(self, stores: Stores, author: Author) -> None:
        """The same content under the same id: in another batch, and within one."""
        first = author.row(idempotency_key="k", occurred_at=NOW)
        again = author.row(idempotency_key="k", occurred_at=NOW)
        other = author.row("user.delete")
        assert first.values[COLUMNS.index("secret")] != again.values[COLUMNS.index("secret")]
        assert stores.events.insert([first]) == [Recorded(first.id, False)]
        answer = stores.events.insert([other, again, again])
        assert answer == [Recorded(other.id, False), Recorded(first.id, True), Recorded(first.id, True)]
        twice = author.row(idempotency_key="l", occurred_at=NOW)
        assert [recorded.duplicate for recorded in stores.events.insert([twice, twice])] == [False, True]
        events = everything(stores)
        assert [event.id for event in events] == [first.id, other.id, twice.id]
        assert events[0].secret == first.values[COLUMNS.index("secret")]

    def test_who_recorded_it_makes_no_difference_to_a_repeat(self, stores: Stores, author: Author) -> None:
        """A retry through another credential, later, or with another severity is the same event."""
        said = draft(idempotency_key="k", occurred_at=NOW)
        stores.events.insert(author.rows(said, by=RecordedBy(type="api_token", token_id="one")))
        (again,) = author.rows(said, by=RecordedBy(type="api_token", token_id="two"))
        severe = msgspec.structs.replace(again, values=(*again.values[:6], "critical", *again.values[7:]))
        assert [recorded.duplicate for recorded in stores.events.insert([again])] == [True]
        assert [recorded.duplicate for recorded in stores.events.insert([severe])] == [True]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"outcome": "success"}, {"outcome": "failure"}),
            ({"project": None}, {"project": "p"}),
            ({"source": "api"}, {"source": "cli"}),
            ({"parent_id": None}, {"parent_id": UUID(bytes=make_id(NOW, 9))}),
            ({"actor": Actor(type="user", id="a")}, {"actor": Actor(type="service", id="a")}),
            ({"metadata": {"a": 1}}, {"metadata": {"a": 2}}),
            ({"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}),
            ({"changes": {"a": Change(old=1, new=2)}}, {"changes": {"a": Change(old=1, new=3)}}),
            ({"imported": False}, {"imported": True}),
            ({"action": "user.create"}, {"action": "user.delete"}),
        ],
        ids=lambda fields: "-".join(map(str, fields)),
    )
    def test_other_content_refuses_the_whole_batch(
        self, stores: Stores, author: Author, first: dict[str, object], second: dict[str, object]
    ) -> None:
        """One event of a thousand that conflicts: nothing of the batch is stored, before or after it."""
        same = {"idempotency_key": "k", "occurred_at": NOW}
        stores.events.insert([author.row(**{"action": "user.create", **first, **same})])  # type: ignore[arg-type]
        conflict = author.row(**{"action": "user.create", **second, **same})  # type: ignore[arg-type]
        with pytest.raises(IdConflict) as refused:
            stores.events.insert([author.row("a.before"), conflict, author.row("a.after")])
        assert str(UUID(bytes=conflict.id)) in str(refused.value)
        assert len(everything(stores)) == 1

    def test_other_content_within_one_batch_refuses_it(self, stores: Stores, author: Author) -> None:
        """Two events of one batch under one id."""
        rows = [author.row(action, idempotency_key="k", occurred_at=NOW) for action in ("a.b", "a.c")]
        with pytest.raises(IdConflict):
            stores.events.insert(rows)
        assert everything(stores) == []

    def test_an_importer_takes_an_existing_id_as_a_duplicate(self, stores: Stores, author: Author) -> None:
        """Where the row does not ask for a comparison there is none."""
        stores.events.insert([author.row("a.b", idempotency_key="k", occurred_at=NOW)])
        said = draft("a.c", idempotency_key="k", occurred_at=NOW)
        (row,) = author.rows(said, rights=Rights(compare=False))
        assert stores.events.insert([row]) == [Recorded(row.id, True)]
        assert [event.action for event in everything(stores)] == ["a.b"]

    def test_one_id_in_two_organizations_is_two_events(self, stores: Stores, author: Author) -> None:
        """Ids are unique within an organization."""
        event_id = UUID(bytes=make_id(NOW, 77))
        for organization in ("acme", "globex"):
            stores.events.insert([author.row(organization=organization, id=event_id)])
        assert [event.organization for event in everything(stores)] == ["acme", "globex"]
        (found,) = stores.events.fetch("globex", [event_id.bytes])
        assert (found.organization, found.seq) == ("globex", everything(stores)[1].seq)

    def test_events_are_fetched_by_id_newest_first(self, stores: Stores, author: Author) -> None:
        """Unknown ids and those of other organizations are left out."""
        rows = [author.row(occurred_at=NOW - number) for number in (3, 1, 2)]
        stores.events.insert([*rows, author.row(organization="globex", id=UUID(bytes=make_id(NOW - 9, 1)))])
        asked = [row.id for row in rows] + [make_id(NOW - 9, 1), make_id(NOW, 5)]
        assert [event.id for event in stores.events.fetch("acme", asked)] == sorted(
            (row.id for row in rows), reverse=True
        )
        assert stores.events.fetch("acme", []) == []

    def test_recording_order_is_the_order_of_inserts(self, stores: Stores, author: Author) -> None:
        """However old the events are; a page of it goes on where the one before ended."""
        rows = [author.row(occurred_at=NOW - age) for age in (0, 90_000_000_000_000, 5, 10**6, 1)]
        for row in rows:
            stores.events.insert([row])
        seal(stores)
        read: list[StoredEvent] = []
        while page := stores.events.after(read[-1].seq if read else 0, 2):
            assert len(page) <= 2
            read += page
        assert [event.id for event in read] == [row.id for row in rows]
        assert stores.events.last_seq() == read[-1].seq
        assert [event.seq for event in read] == sorted({event.seq for event in read})

    def test_rows_are_read_by_their_places_as_they_stand(self, stores: Stores, author: Author) -> None:
        """In recording order whatever was asked first, texts as bytes; a place without a row is left out."""
        stores.events.insert([author.row(description="größe") for _ in range(4)])
        events = everything(stores)
        rows = stores.events.rows([events[3].seq, events[1].seq, events[3].seq + 50])
        assert [row.seq for row in rows] == [events[1].seq, events[3].seq]
        raw = [value.encode() if isinstance(value, str) else value for value in events[3].values]
        assert list(rows[1].values) == raw
        assert stores.events.rows([]) == []
        assert everything(stores)[0].details == events[0].details

    def test_organizations_are_listed_once_each(self, stores: Stores, author: Author) -> None:
        """Sorted, by their events alone."""
        for organization in ("zeta", "acme", "zeta", "Acme", "a.b"):
            stores.events.insert([author.row(organization=organization)])
        assert stores.events.organizations() == ["Acme", "a.b", "acme", "zeta"]

    def test_another_process_sees_what_was_answered(
        self, engine: Engine, database: str, stores: Stores, author: Author
    ) -> None:
        """A second opening reads each insert as soon as it returned, and its own beside them."""
        other = engine.open(database)
        for number in range(3):
            stores.events.insert([author.row(f"a.n{number}")])
            assert other.events.last_seq() == stores.events.last_seq()
        other.events.insert([author.row("a.other")])
        assert [event.action for event in everything(stores)] == ["a.n0", "a.n1", "a.n2", "a.other"]

    def test_writers_at_once_lose_nothing_and_readers_never_miss_a_place(
        self, engine: Engine, database: str, clock: Clock
    ) -> None:
        """Whoever has read up to a place has seen everything before it (what a queue by place stands on)."""
        batches = 25

        def write(number: int) -> list[bytes]:
            store = engine.open(database).events
            author = Author(clock, seed=number + 1)
            written: list[bytes] = []
            for _ in range(batches):
                rows: Sequence[Row] = [author.row() for _ in range(4)]
                written += [recorded.id for recorded in store.insert(rows)]
            return written

        def follow() -> list[bytes]:
            stores = engine.open(database)
            seen: list[bytes] = []
            place = 0
            while len(seen) < 3 * batches * 4:
                seal(stores)
                for event in stores.events.after(place, 64):
                    seen.append(event.id)
                    place = event.seq
            return seen

        answers = at_once(*(partial(write, number) for number in range(3)), follow)
        *written, seen = (answer for answer in answers if isinstance(answer, list))
        assert len(seen) == len(set(seen)) == 3 * batches * 4
        assert set(seen) == {id_ for ids in written for id_ in ids}

    def test_one_event_sent_by_many_at_once_is_stored_once(
        self, engine: Engine, database: str, author: Author, clock: Clock
    ) -> None:
        """A retry that overtakes its first try: one is new, all others are duplicates."""
        rows = [author.row(idempotency_key="k", occurred_at=NOW) for _ in range(4)]
        stores = [engine.open(database) for _ in rows]
        answers = at_once(
            *(partial(store.events.insert, [row]) for store, row in zip(stores, rows, strict=True))
        )
        assert sorted(answer[0].duplicate for answer in answers if isinstance(answer, list)) == [
            False,
            True,
            True,
            True,
        ]
        assert len(everything(stores[0])) == 1
