"""The payments service."""

import os
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

from pg_idempotency.fastapi import Idempotent, idempotent_route, transaction
from pg_idempotency.psycopg import run_async

# PgBouncer before 1.21 does not support prepared statements.
pool = AsyncConnectionPool(
    os.environ["DATABASE_URL"], kwargs={"row_factory": dict_row, "prepare_threshold": None}, open=False
)


def customer(request: Request) -> str:
    """Stands in for your authentication."""
    return request.headers["authorization"].removeprefix("Bearer ")


idempotent = Idempotent(partial(run_async, pool), caller=customer)
router = APIRouter(route_class=idempotent_route(idempotent))


class Payment(BaseModel):
    amount: int


@router.post("/payments", name="payments", status_code=201)
async def pay(payment: Payment, response: Response, customer: str = Depends(customer), connection=Depends(transaction)):
    cursor = await connection.execute(
        "INSERT INTO payments (customer, amount) VALUES (%s, %s) RETURNING *", (customer, payment.amount)
    )
    made = await cursor.fetchone()
    response.headers["Location"] = f"/payments/{made['id']}"
    return made


@asynccontextmanager
async def lifespan(app):
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(router)
