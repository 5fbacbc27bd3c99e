"""Tests of the product; workers of pytest-xdist share them out."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from affidavit.testing import AuditCoverage, AuditLog
from tests.recorder.plugin.shop import Base, app, audit


@pytest.mark.parametrize("number", range(4))
def test_pay(audit_log: AuditLog, number: int) -> None:
    """Is recorded."""
    assert TestClient(app).post(f"/shop/orders/{number}/pay").json() == "paid"
    assert audit_log.one("order.pay", resource=("order", number)).request is not None


@pytest.mark.parametrize("number", range(3))
def test_change(audit_log: AuditLog, number: int) -> None:
    """Is not."""
    assert TestClient(app).put(f"/shop/orders/{number}").json() == "changed"
    audit_log.none()


def test_hook() -> None:
    """Of somebody else."""
    assert TestClient(app).post("/hooks/of/others").text == "heard"


def test_show() -> None:
    """Reading is no change."""
    assert TestClient(app).get("/shop/orders/1").json() == "shown"


def test_fixture(audit_coverage: AuditCoverage) -> None:
    """The same as a fixture, from its first use on."""
    silent = audit_coverage(app=app, models=Base, audit=audit, allow=["POST /hooks/*", "Invoice"])
    assert silent.routes.keys() == {
        "POST /shop/orders/{number}/pay",
        "PUT /shop/orders/{number}",
        "DELETE /shop/orders/{number}",
    }
    TestClient(app).post("/shop/orders/9/pay")
    TestClient(app).put("/shop/orders/9")
    silent = audit_coverage(app=[app], models=[Base], audit=audit, allow=["POST /hooks/*", "Invoice"])
    assert silent.routes == {"PUT /shop/orders/{number}": 1, "DELETE /shop/orders/{number}": 0}
    assert silent.models == []
    assert silent.unknown == ["/raw (a mounted app without routes)"]
