"""A product on FastAPI some of whose routes record nothing."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from affidavit import Audit, system
from affidavit.recorder.middleware.asgi import AuditMiddleware
from affidavit.testing import make_tables


class Base(DeclarativeBase):
    """Of the product."""


class Order(Base):
    """Registered under another name than that of its table."""

    __tablename__ = "shop_orders"
    id: Mapped[int] = mapped_column(primary_key=True)


class Invoice(Base):
    """Nobody records about these."""

    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)


engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
make_tables(engine)
audit = Audit(engine, organization="acme", carry_into_threads=False)
audit.register(Order, type="order")
app = FastAPI()
orders = APIRouter(prefix="/orders")


@orders.post("/{number}/pay")
def pay(number: int) -> str:
    """Records."""
    audit.record_now("order.pay", resource=("order", number), actor=system("shop"))
    return "paid"


@orders.put("/{number}")
def change(number: int) -> str:
    """Changes, and says nothing."""
    return "changed"


@orders.delete("/{number}")
def cancel(number: int) -> str:
    """Is never called."""
    return "cancelled"


@orders.get("/{number}")
def show(number: int) -> str:
    """Changes nothing."""
    return "shown"


async def hook(_request: Any) -> PlainTextResponse:
    """Of somebody else, who keeps a log of his own."""
    return PlainTextResponse("heard")


async def raw(_scope: Any, _receive: Any, _send: Any) -> None:
    """An app that shows no routes."""


shop = APIRouter(prefix="/shop")
shop.include_router(orders)
app.include_router(shop)
app.mount("/hooks", Starlette(routes=[Route("/{name:path}", hook, methods=["POST"])]))
app.mount("/raw", raw)
app.add_middleware(AuditMiddleware)
