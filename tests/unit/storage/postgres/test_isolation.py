"""The default isolation of somebody's database changes nothing for us."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from affidavit.storage.retention import Rules
from affidavit.testing.author import Clock
from affidavit.testing.conformance.suite import at_once
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server


@pytest.fixture
def engine(postgres: Server) -> Iterator[PostgresEngine]:
    """Databases of the test's own."""
    made = PostgresEngine(postgres, clock=Clock())
    yield made
    made.close()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_who_races_for_a_setting_is_answered_as_ever(engine: PostgresEngine, level: str) -> None:
    """Everybody sees what the one before left; nobody is told that a transaction could not be serialized."""
    url = engine.create()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET default_transaction_isolation = '{level}'"
        )

    def adding(number: int, rules: Rules) -> Rules:
        return {**rules, f"a.c{number}": number + 1}

    stores = [engine.open(url) for _ in range(4)]
    answers = at_once(
        *(
            partial(each.policies.change, "acme", partial(adding, number), lambda _: ())
            for number, each in enumerate(stores)
        )
    )
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    assert stores[0].policies.rules("acme") == {f"a.c{number}": number + 1 for number in range(4)}
