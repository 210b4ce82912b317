"""A decorator for handlers that use SQLAlchemy: once for each key."""

import functools

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

CLAIM = text("SELECT * FROM idempotency.claim(:key, :scope, :request)").bindparams(
    bindparam("request", type_=JSONB)
)
COMPLETE = text(
    "SELECT idempotency.complete(:key, :scope, :response, status_code => :status)"
).bindparams(bindparam("response", type_=JSONB))


def idempotent(operation):
    """Run a handler once for each key; its answers are a status and a body.

    Claim, work and answer are one transaction.  An exception rolls all of it
    back, and a retry runs the handler again.
    """

    def decorate(handler):
        @functools.wraps(handler)
        def answer(sessions, key, customer, request):
            claimed = {"key": key, "scope": f"{operation}/{customer}"}
            with sessions.begin() as session:
                claim = session.execute(CLAIM, claimed | {"request": request}).one()
                if claim.outcome == "replay":
                    return claim.status_code, claim.response
                if not claim.proceed:
                    return claim.status_code, {"title": claim.outcome}

                status, body = handler(session, customer, request)
                session.execute(COMPLETE, claimed | {"response": body, "status": status})
                return status, body

        return answer

    return decorate


def status_of(error):
    """The HTTP status that the extension's SQLSTATEs end in; error.orig is psycopg's."""
    sqlstate = error.orig.sqlstate or ""
    return int(sqlstate[2:]) if sqlstate.startswith("IK") else 500
