"""What Django can be asked to do, one function for each row of the table in docs/comparison.md.

Each says how many rows of customers it changed. Where a recorder documents a call of its own for it, that is
a row of its own, and ``None`` for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.recorders_by_hand import ACTION
from bench.recorders_operations import ROWS
from bench.recorders_plain import NAME

__all__ = ["OF_QUERYSETS"]


class Undone(Exception):
    """Leaves a block so that it is rolled back."""


def _new(of: Any) -> Any:
    return of.models.Customer(name=NAME, email="new@example.com")


def _last(of: Any, rows: int) -> list[Any]:
    return list(of.models.Customer.objects.order_by("-pk")[:rows])


def _said(of: Any, resource: Any) -> None:
    if of.side == "ours":
        of.audit.record(ACTION, resource=resource)


def _in_a_block(rows: int) -> Callable[[Callable[[Any], Any]], Callable[[Any], int]]:
    """Do it in an atomic block, and record it there where that is done explicitly."""

    def around(work: Callable[[Any], Any]) -> Callable[[Any], int]:
        def run(of: Any) -> int:
            from django.db import transaction

            with transaction.atomic():
                of.begun()
                _said(of, work(of) or ("customer", "several"))
            return rows

        return run

    return around


@_in_a_block(1)
def _create(of: Any) -> Any:
    one = _new(of)
    one.save()
    return one


@_in_a_block(1)
def _change(of: Any) -> Any:
    (one,) = _last(of, 1)
    one.seats += 1
    one.save()
    return one


@_in_a_block(1)
def _delete(of: Any) -> Any:
    (one,) = _last(of, 1)
    key = one.pk
    one.delete()
    return ("customer", key)


@_in_a_block(1)
def _tag(of: Any) -> Any:
    one = of.models.Customer.objects.order_by("pk").first()
    one.tags.add(*of.models.Tag.objects.order_by("pk")[:2])
    return one


@_in_a_block(1)
def _untag(of: Any) -> Any:
    one = of.models.Customer.objects.order_by("pk").first()
    one.tags.clear()
    return one


@_in_a_block(ROWS)
def _bulk_create(of: Any) -> None:
    of.models.Customer.objects.bulk_create([_new(of) for _ in range(ROWS)])


@_in_a_block(ROWS)
def _update(of: Any) -> None:
    of.models.Customer.objects.filter(pk__in=[one.pk for one in _last(of, ROWS)]).update(seats=9)


def _changed(of: Any) -> list[Any]:
    several = _last(of, ROWS)
    for one in several:
        one.seats += 1
    return several


@_in_a_block(ROWS)
def _bulk_update(of: Any) -> None:
    of.models.Customer.objects.bulk_update(_changed(of), ["seats"])


@_in_a_block(ROWS)
def _delete_several(of: Any) -> None:
    of.models.Customer.objects.filter(pk__in=[one.pk for one in _last(of, ROWS)]).delete()


@_in_a_block(ROWS)
def _text(of: Any) -> None:
    from django.db import connection

    keys = ", ".join(str(one.pk) for one in _last(of, ROWS))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE customers SET seats = seats + 1 WHERE id IN ({keys})")


def _bulk_create_with_history(of: Any) -> int | None:
    if of.side != "simple_history":
        return None
    from simple_history.utils import bulk_create_with_history  # type: ignore[import-not-found]

    bulk_create_with_history([_new(of) for _ in range(ROWS)], of.models.Customer)
    return ROWS


def _bulk_update_with_history(of: Any) -> int | None:
    if of.side != "simple_history":
        return None
    from simple_history.utils import bulk_update_with_history

    bulk_update_with_history(_changed(of), of.models.Customer, ["seats"])
    return ROWS


async def _async(of: Any) -> int:
    from asgiref.sync import sync_to_async

    if of.side in ("ours", "triggers"):  # need a block, which Django cannot await
        await sync_to_async(_create)(of)
    else:
        await _new(of).asave()
    return 1


def _undone(*, outer: bool) -> Callable[[Any], int]:
    def run(of: Any) -> int:
        from django.db import transaction

        def block() -> None:
            with transaction.atomic():
                of.begun()
                (one,) = _last(of, 1)
                one.seats += 1
                one.save()
                _said(of, one)
                raise Undone

        def guarded() -> None:
            try:
                block()
            except Undone:
                pass

        if outer:
            with transaction.atomic():
                guarded()
        else:
            guarded()
        return 0

    return run


OF_QUERYSETS: Final[dict[str, Callable[[Any], Any]]] = {
    "`save()` of a new object": _create,
    "`save()` of a changed object": _change,
    "`delete()` of an object": _delete,
    "many-to-many, `add()` of two": _tag,
    "many-to-many, `clear()`": _untag,
    "`bulk_create()` of 6": _bulk_create,
    "`bulk_create_with_history()` of 6": _bulk_create_with_history,
    "`queryset.update()` of 6": _update,
    "`bulk_update()` of 6": _bulk_update,
    "`bulk_update_with_history()` of 6": _bulk_update_with_history,
    "`queryset.delete()` of 6": _delete_several,
    "SQL by a cursor, 6 rows": _text,
    "`asave()` of a new object": _async,
    "a `save()` that is rolled back": _undone(outer=False),
    "a `save()` whose savepoint is rolled back": _undone(outer=True),
}
