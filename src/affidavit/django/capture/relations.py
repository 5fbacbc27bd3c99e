"""Many-to-many relations: an update of the model that has the relation, from whichever side it was made."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.db.models.signals import m2m_changed

from affidavit.django.capture.marks import Pair, Shown
from affidavit.django.capture.models import ALL, Change, is_captured, record
from affidavit.django.capture.shown import mark

__all__ = ["hear_relations"]


def hear_relations(model: Any) -> None:
    """Listen to the relations that a class has."""
    for field in model._meta.local_many_to_many:
        _Relation(field).listen()


class _Relation:
    def __init__(self, field: Any) -> None:
        self._field = field
        self._is_symmetrical = bool(field.remote_field.symmetrical)

    def listen(self) -> None:
        m2m_changed.connect(
            self._heard,
            sender=self._field.remote_field.through,
            weak=False,
            dispatch_uid=("affidavit.capture", self._field.model, self._field.name),
        )

    def _heard(
        self,
        action: str,
        instance: Any,
        reverse: bool,
        model: Any,
        pk_set: Collection[Any] | None,
        using: str,
        **_more: Any,
    ) -> None:
        shown = mark(using) if is_captured(model if reverse else type(instance)) else None
        if shown is None:
            return
        when, _, what = action.partition("_")
        pair = ("insert" if what == "add" else "delete", self._field.remote_field.through._meta.db_table)
        if when == "pre":
            self._announce(shown, pair, using)
        elif shown.rows[pair] or pair in shown.uncertain:
            keys = sorted(str(key) for key in pk_set) if pk_set is not None else [ALL]
            noted = None
            if pk_set is None or not self._are_all(keys, shown, pair):
                noted = {"statement": pair[0], "rows": shown.rows[pair]}
            record(using, self._changes(what, instance, reverse, model, keys, noted))

    def _announce(self, shown: Shown, pair: Pair, using: str) -> None:
        shown.pairs.add(pair)
        shown.rows[pair] = 0
        shown.uncertain.discard(pair)
        if pair[0] == "insert" and self._is_symmetrical:
            # The other direction is added in silence, in the block of ``add()`` around this one.
            around = mark(using, outside=1)
            if around is not None:
                around.pairs.add(pair)

    def _are_all(self, keys: list[str], shown: Shown, pair: Pair) -> bool:
        """Whether as many rows came or went as were named; of a symmetrical relation two go for each."""
        of_one = 2 if pair[0] == "delete" and self._is_symmetrical else 1
        return pair in shown.uncertain or shown.rows[pair] >= len(keys) * of_one

    def _changes(
        self,
        what: str,
        instance: Any,
        reverse: bool,
        model: Any,
        keys: list[str],
        noted: dict[str, Any] | None,
    ) -> Iterator[Change]:
        def change(keys: list[str]) -> dict[str, tuple[Any, Any]]:
            return {self._field.name: (None, keys) if what == "add" else (keys, None)}

        if not reverse:
            yield Change("update", type(instance), instance, change(keys), noted)
            return
        for key in keys:
            yield Change("update", model, key, change([str(instance.pk)]), noted)
