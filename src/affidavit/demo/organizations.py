"""Who the demonstration is about: three invented organizations, their people, machines and places.

Nobody here exists: the domains are reserved (RFC 2606), and so are the addresses (RFC 5737, RFC 3849).
"""

from __future__ import annotations

import unicodedata
from hashlib import sha256

from affidavit.core.event import CI, Location
from affidavit.demo.cast import Browser, Machine, Organization, Person, Place

__all__ = ["HARBOUR", "MEADOW", "ORCHARD", "ORGANIZATIONS", "UNKNOWN_PLACES"]

_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) "
_WIN = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) "
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) "
_BROWSERS = (
    Browser(f"{_MAC}{_WEBKIT}Chrome/140.0.0.0 Safari/537.36", "Chrome on macOS"),
    Browser(f"{_WIN}{_WEBKIT}Chrome/140.0.0.0 Safari/537.36", "Chrome on Windows"),
    Browser("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on Linux"),
    Browser(
        f"{_MAC}AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15", "Safari on macOS"
    ),
    Browser(f"{_WIN}{_WEBKIT}Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge on Windows"),
    Browser(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "Firefox on Windows",
    ),
)

_UTRECHT = Location(city="Utrecht", region="Utrecht", country="Netherlands", country_code="NL")
_PORTO = Location(city="Porto", region="Porto", country="Portugal", country_code="PT")
_TORONTO = Location(city="Toronto", region="Ontario", country="Canada", country_code="CA")
_LEEDS = Location(city="Leeds", region="England", country="United Kingdom", country_code="GB")
_PUNE = Location(city="Pune", region="Maharashtra", country="India", country_code="IN")
_FRANKFURT = Location(city="Frankfurt am Main", region="Hesse", country="Germany", country_code="DE")
_ASHBURN = Location(city="Ashburn", region="Virginia", country="United States", country_code="US")

UNKNOWN_PLACES = {
    "203.0.113.66": Location(city="Chisinau", country="Moldova", country_code="MD"),
    "2001:db8:5ca1::77": Location(city="São Paulo", region="São Paulo", country="Brazil", country_code="BR"),
    "203.0.113.201": Location(city="Hanoi", country="Vietnam", country_code="VN"),
}
"""Where the uninvited come from, by address."""

# The office's number in an address is the organization's.
_PLACES = {
    "utrecht": Place(_UTRECHT, 1, "192.0.2.1{}"),
    "porto": Place(_PORTO, 0, "192.0.2.3{}"),
    "toronto": Place(_TORONTO, -5, "192.0.2.13{}"),
    "leeds": Place(_LEEDS, 0, "192.0.2.20{}"),
    "pune": Place(_PUNE, 5, "2001:db8:40:{}::1a"),
}


def _office(place: str, organization: str) -> Place:
    """An organization's office in a place, under an address of its own."""
    common = _PLACES[place]
    number = ord(organization[0]) % 8
    return Place(common.location, common.offset, common.address.format(number))


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("ø", "o"))
    return plain.encode("ascii", "ignore").decode()


def _people(organization: str, domain: str, rows: str) -> tuple[Person, ...]:
    """People from lines of name, role and place."""
    people = []
    for rank, row in enumerate(rows.strip().splitlines()):
        name, role, place = (cell.strip() for cell in row.split("|"))
        number = int(sha256(f"{organization}/{name}".encode()).hexdigest()[:6], 16)
        email = _ascii(name).lower().replace(" ", ".")
        home = (
            f"198.51.100.{number % 230 + 2}" if number % 5 else f"2001:db8:{number % 65535:x}::{rank + 1:x}"
        )
        people.append(
            Person(
                organization,
                name,
                f"{email}@{domain}",
                role,
                1 / (1 + rank) ** 0.6,
                _office(place, organization),
                home,
                _BROWSERS[number % len(_BROWSERS)],
            )
        )
    return tuple(people)


MEADOW = Organization(
    "meadow-data",
    "Meadow Data",
    "meadow.example",
    _people(
        "meadow-data",
        "meadow.example",
        """
        Ines Quill | owner | utrecht
        Tom Barley | engineer | utrecht
        Mira Olsen | admin | utrecht
        Dae Halloran | engineer | toronto
        Priya Tarn | analyst | pune
        Jonas Fell | engineer | utrecht
        Lucía Marsh | analyst | porto
        Noor Vesper | engineer | pune
        Sam Okapi | support | toronto
        Beatriz Loam | analyst | porto
        Wim Heron | engineer | utrecht
        Renée Cobble | analyst | utrecht
        Asha Linden | engineer | pune
        Gil Thresher | support | toronto
        Petra Søl | analyst | utrecht
        Hugo Bramble | engineer | porto
        """,
    ),
    (
        Machine(
            "meadow-data",
            "bi-dashboard",
            ("pipelines:read", "runs:read"),
            "198.51.100.240",
            "python-httpx/0.28.1",
            26,
            (5, 20),
            location=_FRANKFURT,
        ),
        Machine(
            "meadow-data",
            "orchestrator",
            ("pipelines:read", "runs:read", "runs:trigger"),
            "198.51.100.241",
            "meadow-sdk-python/3.4.1",
            16,
            location=_FRANKFURT,
        ),
        Machine(
            "meadow-data",
            "glossary-sync",
            ("glossary:read",),
            "198.51.100.242",
            "Go-http-client/2.0",
            9,
            (2, 3),
            location=_FRANKFURT,
        ),
        Machine(
            "meadow-data",
            "ci-deploy",
            ("pipelines:write", "runs:trigger"),
            "203.0.113.20",
            "meadowctl/2.14.0 (linux; x86_64)",
            7,
            (7, 18),
            CI(platform="GitHub Actions", confidence="token", repository="meadow/warehouse"),
            location=_ASHBURN,
        ),
    ),
)

HARBOUR = Organization(
    "harbour-cloud",
    "Harbour Cloud",
    "harbour.example",
    _people(
        "harbour-cloud",
        "harbour.example",
        """
        Edda Crane | owner | leeds
        Ravi Stone | engineer | pune
        Maeve Dockery | admin | leeds
        Oskar Lind | engineer | utrecht
        Talia Reed | engineer | toronto
        Bo Winter | engineer | leeds
        Sunniva Kell | support | leeds
        Farid Anchor | engineer | porto
        Chloé Mast | admin | toronto
        Ulla Ferry | engineer | utrecht
        Ivo Gantry | support | porto
        """,
    ),
    (
        Machine(
            "harbour-cloud",
            "github-deploy",
            ("applications:deploy", "projects:read"),
            "203.0.113.31",
            "harbour-cli/1.22.0 linux/amd64",
            9,
            (7, 19),
            CI(platform="GitHub Actions", confidence="token", repository="harbour/storefront"),
            location=_ASHBURN,
        ),
        Machine(
            "harbour-cloud",
            "gitlab-deploy",
            ("applications:deploy",),
            "203.0.113.47",
            "harbour-cli/1.21.3 linux/amd64",
            4,
            (8, 17),
            CI(platform="GitLab CI", confidence="declared", repository="harbour/ledger"),
        ),
        Machine(
            "harbour-cloud",
            "terraform",
            ("resources:write", "policies:write"),
            "198.51.100.243",
            "Terraform/1.13.3 harbour-provider/0.9.4",
            6,
            (8, 18),
            CI(platform="Jenkins", confidence="guess"),
            location=_FRANKFURT,
        ),
        Machine(
            "harbour-cloud",
            "autoscaler",
            ("resources:write",),
            "198.51.100.244",
            "harbour-autoscaler/0.31",
            7,
            location=_FRANKFURT,
        ),
    ),
)

ORCHARD = Organization(
    "orchard-studio",
    "Orchard Studio",
    "orchard.example",
    _people(
        "orchard-studio",
        "orchard.example",
        """
        Hanne Pippin | owner | utrecht
        Marco Russet | engineer | porto
        Yara Quince | admin | porto
        Elin Damson | engineer | leeds
        Kofi Medlar | engineer | leeds
        Anouk Perry | analyst | utrecht
        Nils Sorrel | engineer | utrecht
        Dilan Rowan | support | leeds
        Zoe Bullace | analyst | toronto
        """,
    ),
    (
        Machine(
            "orchard-studio",
            "cloud-runner",
            ("journeys:run", "secrets:use"),
            "198.51.100.245",
            "orchard-runner/5.2.0",
            8,
            location=_FRANKFURT,
        ),
        Machine(
            "orchard-studio",
            "crm-bridge",
            ("flows:run",),
            "198.51.100.246",
            "okhttp/4.12.0",
            5,
            (6, 20),
            location=_FRANKFURT,
        ),
    ),
)

ORGANIZATIONS: tuple[Organization, ...] = (MEADOW, HARBOUR, ORCHARD)
"""In the order of their size."""
