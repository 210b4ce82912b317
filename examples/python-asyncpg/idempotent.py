"""A decorator for handlers that use asyncpg: once for each key."""

import functools
import json


def idempotent(operation):
    """Run a handler once for each key; its answers are a status and a body.

    Claim, work and answer are one transaction.  An exception rolls all of it
    back, and a retry runs the handler again.
    """

    def decorate(handler):
        @functools.wraps(handler)
        async def answer(pool, key, customer, request):
            scope = f"{operation}/{customer}"
            async with pool.acquire() as connection, connection.transaction():
                claim = await connection.fetchrow(
                    "SELECT * FROM idempotency.claim($1, $2, $3)",
                    key, scope, json.dumps(request),
                )
                if claim["outcome"] == "replay":
                    return claim["status_code"], json.loads(claim["response"])
                if not claim["proceed"]:
                    return claim["status_code"], {"title": claim["outcome"]}

                status, body = await handler(connection, customer, request)
                await connection.execute(
                    "SELECT idempotency.complete($1, $2, $3, status_code => $4)",
                    key, scope, json.dumps(body), status,
                )
                return status, body

        return answer

    return decorate


def status_of(error):
    """The HTTP status that the extension's SQLSTATEs end in."""
    return int(error.sqlstate[2:]) if error.sqlstate.startswith("IK") else 500
