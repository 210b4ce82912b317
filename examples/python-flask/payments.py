"""The payments service."""

import os
from functools import partial

from flask import Flask, g, request
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from pg_idempotency.flask import Idempotent
from pg_idempotency.psycopg import run

app = Flask(__name__)
# PgBouncer before 1.21 does not support prepared statements.
pool = ConnectionPool(
    os.environ["DATABASE_URL"], kwargs={"row_factory": dict_row, "prepare_threshold": None}, open=True
)


def customer():
    """Stands in for your authentication."""
    return request.headers["Authorization"].removeprefix("Bearer ")


idempotent = Idempotent(partial(run, pool), caller=customer)


@app.post("/payments")
@idempotent("payments")
def pay():
    payment = g.transaction.execute(
        "INSERT INTO payments (customer, amount) VALUES (%s, %s) RETURNING *",
        (customer(), request.json["amount"]),
    ).fetchone()
    return payment, 201, {"Location": f"/payments/{payment['id']}"}
