"""The payments service."""

from typing import Annotated

import psycopg
from fastapi import APIRouter, Depends, Request
from psycopg.rows import dict_row
from pydantic import BaseModel

from idempotent import IdempotentRoute, connection_of


class Payment(BaseModel):
    amount: int


router = APIRouter(route_class=IdempotentRoute)


@router.post("/payments", status_code=201)
async def pay(
    payment: Payment,
    request: Request,
    connection: Annotated[psycopg.AsyncConnection, Depends(connection_of)],
):
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        "INSERT INTO payments (customer, amount) VALUES (%s, %s) RETURNING *",
        (request.state.customer, payment.amount),
    )
    return await cursor.fetchone()
