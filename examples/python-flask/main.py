"""Serve payments.py, with the views that promises.pl asks for."""

import os

import psycopg
from flask import g

from payments import app, idempotent, pay


@app.post("/payments/<how>")
@idempotent("payments")
def pay_and_fail(how):
    answer = pay.__wrapped__()
    if how == "commit":
        g.transaction.execute("COMMIT")
        return answer
    if how == "caught":
        try:
            g.transaction.execute("SELECT 1/0")
        except psycopg.Error:
            return "Taken.", 409
    if how == "nothing":
        return "", 204
    if how == "unavailable":
        return "Come back later.", 503
    raise RuntimeError(how)


app.run("127.0.0.1", int(os.environ["PORT"]))
