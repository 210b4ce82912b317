"""Serve payments.py, with the routes that promises.pl asks for."""

import os

import psycopg
import uvicorn
from fastapi import Depends, Response

from payments import Payment, app, customer, idempotent_route, idempotent, pay
from pg_idempotency.fastapi import transaction


async def pay_and_fail(
    how: str, payment: Payment, response: Response, customer: str = Depends(customer), connection=Depends(transaction)
):
    made = await pay(payment, response, customer, connection)
    if how == "commit":
        await connection.execute("COMMIT")
        return made
    if how == "caught":
        try:
            await connection.execute("SELECT 1/0")
        except psycopg.Error:
            return Response("Taken.", 409)
    if how == "nothing":
        return Response(status_code=204)
    if how == "unavailable":
        return Response("Come back later.", 503)
    raise RuntimeError(how)


app.router.add_api_route(
    "/payments/{how}", pay_and_fail, methods=["POST"], name="payments",
    route_class_override=idempotent_route(idempotent),
)  # fmt: skip
uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
