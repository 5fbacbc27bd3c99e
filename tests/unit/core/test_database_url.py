"""What of a database URL may be shown, and which URLs hide a password where it is not looked for."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.core.database_url import masked, readable

SECRET = "s3cr3t"
READABLE = [
    "postgresql://h/d",
    "postgres://ana@h:5432/d",
    "postgresql://ana:p-._~!$&'()*+,;=%40@h/d?sslmode=require&application_name=x",
    "postgresql:///d?host=/run/postgresql",
    "postgresql://ana@[::1]:5432/d",
    "postgresql://a,b:5433,[fe80::1]/d?target_session_attrs=read-write",
    "postgresql://ana@%2Frun%2Fpostgresql/d",
    "postgresql://",
]
HIDDEN = [
    f"postgresql://ana:x/{SECRET}@h/d",
    f"postgresql://ana:x#{SECRET}@h/d",
    f"postgresql://ana:x?{SECRET}@h/d",
    f"postgresql://ana:x@{SECRET}@h/d",
    f"postgresql://ana:[{SECRET}@h/d",
    f"postgresql://ana:{SECRET}]@h/d",
    f"postgresql://ana:{SECRET} @h/d",
    f"postgresql://ana:{SECRET}%zz@h/d",
    f"postgresql://ana/x:{SECRET}@h/d",
    f"postgresql:/ana:{SECRET}@h/d",
    f"postgresql//ana:{SECRET}@h/d",
    f"ana:{SECRET}@h/d",
    f"host=h dbname=d password={SECRET}",
    f"postgresql://h/d?user=ana@x&password={SECRET}",
]


@pytest.mark.parametrize("url", READABLE)
def test_what_psql_takes_is_readable(url: str) -> None:
    """Hosts, ports, sockets, several hosts, parameters, everything in percent form."""
    assert readable(url)


@pytest.mark.parametrize("url", HIDDEN)
def test_a_password_that_would_be_taken_for_something_else_is_refused_unseen(url: str) -> None:
    """The URL is not readable, and shown without any character of the password."""
    assert not readable(url)
    assert SECRET not in masked(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ana:p@h/d", "postgresql://ana:***@h/d"),
        ("postgresql://ana@h/d", "postgresql://ana@h/d"),
        (f"postgresql://h/d?user=ana&password={SECRET}&x=1", "postgresql://h/d?user=ana&password=***&x=1"),
        (f"postgresql://h/d?sslPassword={SECRET}", "postgresql://h/d?sslPassword=***"),
        (f"postgresql://h/d?passwort={SECRET}", "postgresql://h/d?passwort=***"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("file.db", "file.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    """Everything else stays, so that a person recognises it."""
    assert masked(url) == shown


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_password_in_percent_form_is_readable_and_never_shown(password: str) -> None:
    """What quote() writes reads back, and the URL is shown the same for every password."""
    url = f"postgresql://ana:{quote(password, safe='')}@h/d"
    assert readable(url)
    assert urlsplit(url).hostname == "h"
    assert masked(url) == "postgresql://ana:***@h/d"
