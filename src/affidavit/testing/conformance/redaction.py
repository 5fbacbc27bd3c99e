"""The suite of the role ``Redactor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import pytest

from affidavit.core.event import GROUPS
from affidavit.core.row import StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.storage.redaction import Redaction, Redactor
from affidavit.testing.author import Author
from affidavit.testing.conformance.suite import Suite, seal
from affidavit.testing.engine import RedactionSide, Stores

__all__ = ["RedactorSuite"]

HEX = "0123456789abcdef" * 2


def leaf(event: StoredEvent) -> bytes:
    """The leaf of an event as it stands."""
    made = leaf_of_event(event, HEX)
    assert made.invalid is None
    return made.entry


class RedactorSuite(Suite):
    """Taking values away."""

    @pytest.fixture
    def redactor(self, stores: Stores) -> Iterator[RedactionSide]:
        """As a worker process would open it."""
        made = stores.redactor()
        yield made
        made.close()

    @pytest.fixture
    def ids(self, stores: Stores, author: Author) -> Sequence[bytes]:
        """Events with something in every group."""
        rows = [
            author.row("a.b", reason=f"r{number}", ip="10.0.0.1", metadata={"n": number})
            for number in range(40)
        ]
        return [one.id for one in stores.events.insert(rows)]

    def test_any_groups_go_and_the_leaf_stays(
        self, stores: Stores, redactor: Redactor, ids: Sequence[bytes]
    ) -> None:
        """Every choice of groups, each on its own event: these go, the others and the leaf stay."""
        before = {event.id: event for event in stores.events.fetch("acme", ids)}
        choices = [chosen for count in range(6) for chosen in combinations(GROUPS, count)]
        redactions = [Redaction("acme", *each) for each in zip(ids, choices, strict=False)]
        assert redactor.redact("erasure", "m", redactions) == len(choices) - 1
        after = {event.id: event for event in stores.events.fetch("acme", ids)}
        for event_id, chosen in zip(ids, choices, strict=False):
            old, new = before[event_id], after[event_id]
            texts = zip(GROUPS, old.texts, strict=True)
            assert new.texts == tuple(None if group in chosen else text for group, text in texts)
            assert leaf(new) == leaf(old)
            assert (new.secret is None) == bool(chosen)
            assert new.actor_id == (None if "actor" in chosen else old.actor_id)
        assert [after[event_id].values for event_id in ids[len(choices) :]] == [
            before[event_id].values for event_id in ids[len(choices) :]
        ]

    def test_group_by_group_is_the_same_as_at_once(
        self, stores: Stores, redactor: Redactor, ids: Sequence[bytes]
    ) -> None:
        """The order and number of steps leave no trace, and a repeat changes nothing."""
        before = leaf(stores.events.fetch("acme", ids[:1])[0])
        for group in reversed(GROUPS):
            assert redactor.redact("erasure", "m", [Redaction("acme", ids[0], (group,))]) == 1
            assert redactor.redact("erasure", "m", [Redaction("acme", ids[0], (group,))]) == 0
            assert leaf(stores.events.fetch("acme", ids[:1])[0]) == before
        (event,) = stores.events.fetch("acme", ids[:1])
        assert event.redacted == GROUPS

    def test_what_is_not_there_is_passed_over(
        self, stores: Stores, redactor: Redactor, ids: Sequence[bytes]
    ) -> None:
        """Unknown ids and other organizations: nothing happens, and the rest is done."""
        redactions = [
            Redaction("acme", b"\x01" * 16, GROUPS),
            Redaction("globex", ids[0], GROUPS),
            Redaction("acme", ids[1], ("actor",)),
        ]
        assert redactor.redact("expiry", "e", redactions) == 1
        found = {event.id: event.redacted for event in stores.events.fetch("acme", ids[:2])}
        assert found == {ids[0]: (), ids[1]: ("actor",)}

    def test_many_are_done_in_one_call(self, stores: Stores, redactor: Redactor, author: Author) -> None:
        """More than fits into one hold of the lock, in organizations of their own."""
        rows: list[Any] = [
            author.row("a.b", organization=f"o-{number % 3}", reason="r") for number in range(900)
        ]
        stores.events.insert(rows)
        redactions = [Redaction(row.organization, row.id, ("details",)) for row in rows]
        assert redactor.redact("expiry", "e", redactions) == 900
        seal(stores)
        assert {event.redacted for event in stores.events.after(0, 1_000)} == {("details",)}

    def test_scrubbing_ends_where_nobody_reads(
        self, stores: Stores, redactor: Redactor, ids: Sequence[bytes]
    ) -> None:
        """It comes to an end, may be repeated, and the events are as they were."""
        redactor.redact("erasure", "m", [Redaction("acme", ids[0], GROUPS)])
        seal(stores)
        before = [event.values for event in stores.events.after(0, 100)]
        assert len(before) == 40
        for _ in range(2):
            while not redactor.scrub():
                pass
        assert [event.values for event in stores.events.after(0, 100)] == before
