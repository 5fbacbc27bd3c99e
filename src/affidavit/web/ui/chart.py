"""The timeline above the table: counts over time as the geometry of a small drawing, and in words.

Pure. The drawing is SVG with attributes only, because the page's policy allows no inline style; what it
says stands beside it as text, because a picture alone says nothing to some readers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from affidavit.core.times import DAY, HOUR, format_time
from affidavit.web.instance import Bucket
from affidavit.web.ui.present import moment

__all__ = ["HEIGHT", "WIDTH", "Bar", "Chart", "draw"]

WIDTH = 1200
HEIGHT = 56
_GAP = 3
_WIDEST = 48
_LEAST = 3
"""A bucket with any event at all is at least this high."""


class Bar(msgspec.Struct, frozen=True):
    """One bar: all events, and the failures among them at its foot.

    Attributes:
        slot, x, y, width, height, failed_y, failed_height: units of the drawing; ``slot`` is the left
            edge of the bucket's full-height area, ``slot_width`` wide.
        start, end: inclusive bounds as RFC 3339, for the filter of this stretch.
    """

    slot: float
    slot_width: float
    x: float
    width: float
    y: float
    height: float
    failed_y: float
    failed_height: float
    words: str
    start: str
    end: str


class Chart(msgspec.Struct, frozen=True):
    """The drawing and its meaning.

    Attributes:
        total: ``At least 1,200 events`` or ``1,200 events``.
        summary: one sentence for those who do not see the bars.
        first, last: the labels at both ends.
        busiest: count of the highest bar.
    """

    bars: tuple[Bar, ...]
    total: str
    failures: str
    summary: str
    first: str
    last: str
    busiest: int


def draw(buckets: Sequence[Bucket], total: int, *, at_least: bool) -> Chart | None:
    """The chart of a histogram, or nothing where it has no events.

    Args:
        buckets: in order of time.
        total: events in all of them.
        at_least: a bound on the work was hit, so there may be more.
    """
    busiest = max((bucket.count for bucket in buckets), default=0)
    if busiest == 0:
        return None
    slot = WIDTH / len(buckets)
    bars = tuple(_bar(bucket, number, slot, busiest) for number, bucket in enumerate(buckets))
    prefix = "At least " if at_least else ""
    failures = sum(bucket.failures for bucket in buckets)
    first, last = buckets[0].start, buckets[-1].end
    peak = max(buckets, key=lambda bucket: bucket.count)
    summary = (
        f"{prefix}{_events(total)}, {failures:,} of them failed, "
        f"between {_when(first)} and {_when(last)} UTC. "
        f"The most, {peak.count:,}, lie between {_when(peak.start)} and {_when(peak.end)} UTC."
    )
    return Chart(
        bars=bars,
        total=f"{prefix}{_events(total)}",
        failures=f"{failures:,} failed" if failures else "",
        summary=summary,
        first=_label(first, last - first),
        last=_label(last - 1, last - first),
        busiest=busiest,
    )


def _bar(bucket: Bucket, number: int, slot: float, busiest: int) -> Bar:
    height = _scaled(bucket.count, busiest)
    failed = min(height, _scaled(bucket.failures, busiest))
    width = min(slot - min(_GAP, slot / 4), _WIDEST)
    failures = f", {bucket.failures:,} failed" if bucket.failures else ""
    return Bar(
        slot=round(number * slot, 2),
        slot_width=round(slot, 2),
        x=round(number * slot + (slot - width) / 2, 2),
        width=round(width, 2),
        y=round(HEIGHT - height, 2),
        height=round(height, 2),
        failed_y=round(HEIGHT - failed, 2),
        failed_height=round(failed, 2),
        words=f"{_when(bucket.start)} to {_when(bucket.end)} UTC: {_events(bucket.count)}{failures}",
        start=format_time(bucket.start),
        end=format_time(bucket.end - 1),
    )


def _scaled(count: int, busiest: int) -> float:
    return max(_LEAST, count / busiest * HEIGHT) if count else 0.0


def _events(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


def _when(microseconds: int) -> str:
    at = moment(microseconds)
    return f"{at.day}, {at.clock[:5]}"


def _label(microseconds: int, span: int) -> str:
    at = moment(microseconds)
    if span <= 2 * HOUR:
        return f"{at.day}, {at.clock}"
    return f"{at.day}, {at.clock[:5]}" if span <= 3 * DAY else at.day
