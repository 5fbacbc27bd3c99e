"""Pages of 50 for every filter, in the library, over HTTP and by the engine alone."""

from __future__ import annotations

import http.client
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

from affidavit.core.filter import Filter
from affidavit.core.ids import format_id
from affidavit.core.query import parse_params
from affidavit.core.row import StoredEvent
from affidavit.core.times import DAY, format_time
from affidavit.log.reader import Reader
from affidavit.wiring import Instance
from bench.base import Base
from bench.data import MAIN, Source
from bench.results import Results, Row, at_most
from bench.servers import serve, token
from bench.stores import BATCH, intake, opened, prepared

__all__ = ["measure"]

SAMPLES: Final = 40
"""Values of one filter that are asked for, hot ones and rare ones among them."""
TAIL: Final = 10_000

Params = list[tuple[str, str]]


def measure(results: Results, base: Base, label: str) -> None:
    """Add the rows of a filled store: each filter, combinations, depth, tail, counts, HTTP."""
    with opened(base) as instance:
        questions = _questions(instance)
        _measure_filters(results, instance.reader, questions, label)
        _measure_deep(results, instance.reader, label)
        _measure_counts(results, instance.reader, questions, label)
    _measure_against_engine(results, base, questions, label)
    made, source = intake(), Source(23)
    # The tail stays: what is measured after this begins with another database.
    with opened(tail := base.copy_to("tail")) as instance:
        for _ in range(TAIL // BATCH):
            instance.insert(prepared(made, source, BATCH))
        for name in ("actor", "resource", "ip", "e-mail", "action and ip"):
            times = _timed(instance.reader, questions[name])
            bound = 60 if " and " in name else 10
            results.add(_row(f"page: {name}, tail of {TAIL:,}, {label}", times, bound))
    tail.drop()


def _row(name: str, times: Sequence[float], bound: float) -> Row:
    times = sorted(times)
    p95 = times[int(len(times) * 0.95)]
    return at_most(name, p95, bound, unit="ms p95", note=f"p50 {statistics.median(times):.2f}")


def _questions(instance: Instance) -> dict[str, list[Filter]]:
    """Every filter with values drawn from the events themselves."""
    events = _sample(instance)
    questions: dict[str, list[Params]] = {}

    def ask(name: str, read: Callable[[StoredEvent], Params | None]) -> None:
        found = [params for event in events if (params := read(event)) is not None]
        unique = {tuple(params): params for params in found}
        questions[name] = list(unique.values())[:SAMPLES]

    def group(event: StoredEvent, name: str, member: str) -> str | None:
        part = event.groups().get(name)
        return part.get(member) if isinstance(part, dict) else None

    def one(parameter: str, read: Callable[[StoredEvent], str | None]) -> None:
        ask(parameter, lambda event: [(parameter, value)] if (value := read(event)) else None)

    questions["no filter"] = [[]]
    one("actor", lambda event: event.actor_id)
    ask("e-mail", lambda event: [("actor", mail)] if (mail := group(event, "actor", "email")) else None)
    ask("three actors", lambda event: [("actor", one.actor_id or "") for one in _others(events, event, 3)])
    one("action", lambda event: event.action)
    ask("action prefix", lambda event: [("action", event.action.rpartition(".")[0] + ".*")])
    one("action_group", lambda event: event.action.partition(".")[0])
    ask("outcome failure", lambda _: [("outcome", "failure")])
    ask("severity", lambda event: [("severity", event.severity)])
    one("resource", lambda event: next((r["id"] for r in event.groups().get("resources", ())), None))
    one("resource_type", lambda event: next((r["type"] for r in event.groups().get("resources", ())), None))
    one("ip", lambda event: event.groups().get("ip"))
    ask(
        "ip /24",
        lambda event: [("ip", _network(ip))] if "." in (ip := event.groups().get("ip", "")) else None,
    )
    one("token", lambda event: group(event, "session", "token_id"))
    one("session", lambda event: group(event, "session", "id"))
    one("on_behalf_of", lambda event: group(event, "on_behalf_of", "id"))
    one("parent_id", lambda event: format_id(event.parent_id) if event.parent_id else None)
    one("request_id", lambda event: group(event, "request", "id"))
    one("trace_id", lambda event: event.groups().get("trace_id"))
    ask("one day", _day)
    for parameter in ("project", "source"):
        one(parameter, lambda event, it=parameter: getattr(event, it))  # type: ignore[misc]
    one("country_code", lambda event: group(event, "location", "country_code"))
    ask("late", lambda _: [("late", "true")])
    ask("imported", lambda _: [("imported", "true")])
    ask("q", lambda event: [("q", event.id.hex()[:6])])
    ask("not_action", lambda event: [("not_action", event.action)])
    ask("not_source", lambda event: [("not_source", event.source)])
    for pair in (("actor", "resource"), ("action", "ip"), ("actor", "outcome failure"), ("action", "token")):
        left, right = (questions[name] for name in pair)
        both = [[*a, *b] for a, b in zip(left, right * SAMPLES, strict=False)]
        questions[" and ".join(pair)] = both
    return {name: [parse_params(params) for params in found] for name, found in questions.items() if found}


def _sample(instance: Instance) -> list[StoredEvent]:
    """Events of the main organization: the newest, and as many from anywhere."""
    rng = random.Random(29)
    store = instance.database.events
    last = store.last_seq()
    found = list(instance.reader.page((MAIN,), Filter(), limit=600).events)
    for _ in range(700):
        found += [event for event in store.after(rng.randrange(last), 1) if event.organization == MAIN]
    rng.shuffle(found)
    return found


def _others(events: list[StoredEvent], event: StoredEvent, count: int) -> list[StoredEvent]:
    at = events.index(event)
    return [events[(at + number) % len(events)] for number in range(count)]


def _network(address: str) -> str:
    return address.rpartition(".")[0] + ".0/24"


def _day(event: StoredEvent) -> Params:
    start = event.occurred_at // DAY * DAY
    return [("start_date", format_time(start)), ("end_date", format_time(start + DAY - 1))]


def _timed(
    reader: Reader, filters: Sequence[Filter], work: Callable[[Filter], object] | None = None
) -> list[float]:
    """Milliseconds of each question, warm: asked twice, the second counts."""
    ask = work or (lambda filter_: reader.page((MAIN,), filter_))
    times = []
    for filter_ in [*filters] * max(1, SAMPLES // len(filters)):
        ask(filter_)
        begun = time.perf_counter()
        ask(filter_)
        times.append((time.perf_counter() - begun) * 1000)
    return times


INDEXED: Final = frozenset(
    "no filter,actor,e-mail,three actors,action,action prefix,action_group,outcome failure,severity,resource,"
    "resource_type,ip,ip /24,token,session,on_behalf_of,parent_id,request_id,trace_id,one day".split(",")
)
"""One indexed filter or a union; what walks or combines has the wider bound."""


def _measure_filters(
    results: Results, reader: Reader, questions: dict[str, list[Filter]], label: str
) -> None:
    for name, filters in questions.items():
        bound = 10 if name in INDEXED else 60
        results.add(_row(f"page: {name}, {label}", _timed(reader, filters), bound))


def _measure_deep(results: Results, reader: Reader, label: str) -> None:
    page_token = None
    times = []
    for number in range(1_100):
        begun = time.perf_counter()
        page = reader.page((MAIN,), Filter(), token=page_token)
        if number >= 1_000:
            times.append((time.perf_counter() - begun) * 1000)
        page_token = page.continuation_token
    results.add(_row(f"page: number 1,000 to 1,100, {label}", times, 10))


def _measure_counts(results: Results, reader: Reader, questions: dict[str, list[Filter]], label: str) -> None:
    for name in ("no filter", "actor", "action", "ip"):
        filters = questions[name][:10]
        histogram = _timed(reader, filters, lambda filter_: reader.histogram((MAIN,), filter_))
        facets = _timed(reader, filters, lambda filter_: reader.facets((MAIN,), filter_))
        results.add(
            _row(f"histogram: {name}, {label}", histogram, 150), _row(f"facets: {name}, {label}", facets, 150)
        )


def _measure_against_engine(
    results: Results, base: Base, questions: dict[str, list[Filter]], label: str
) -> None:
    """The same page by one statement of the engine, by the library, and over HTTP."""
    with base.alone() as alone, opened(base) as instance:
        reader = instance.reader
        key = token(base.settings, MAIN)
        with serve(base.settings, worker=False) as server:
            client = _Client(server.url, key)
            for name, ask in alone.items():
                filters = questions[name]
                engine = statistics.median(_timed(reader, filters, ask))
                library = statistics.median(_timed(reader, filters))
                over_http = statistics.median(_timed(reader, filters, client.page))
                results.add(
                    at_most(f"page: {name}, library, {label}", library, 0.5, unit="ms p50", reference=engine),
                    at_most(f"page: {name}, HTTP, {label}", over_http, 3, unit="ms p50", reference=engine),
                )
            client.close()


class _Client:
    """One connection that asks for pages."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.netloc)
        self._headers = {"Authorization": f"Bearer {key}"}

    def page(self, filter_: Filter) -> bytes:
        params = [(condition.field, value) for condition in filter_.conditions for value in condition.values]
        self._connection.request("GET", f"/api/v1/events?{urlencode(params)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body!r}")
        return body

    def close(self) -> None:
        self._connection.close()
