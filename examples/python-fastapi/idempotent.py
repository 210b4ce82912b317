"""A class of routes: once for each Idempotency-Key."""

import json

import psycopg
from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb


class IdempotentRoute(APIRoute):
    """Runs its endpoint once for each Idempotency-Key, in the transaction of the claim.

    An exception rolls the claim back with the work, and a retry runs the
    endpoint again.
    """

    def get_route_handler(self):
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            header = request.headers.get("idempotency-key")
            scope = f"{self.name}/{request.state.customer}"
            try:
                body = await request.json()
            except ValueError as error:
                raise HTTPException(400, "The body is not JSON") from error
            async with request.app.state.pool.connection() as connection:
                cursor = connection.cursor(row_factory=namedtuple_row)
                await cursor.execute(
                    "SELECT key, claim.* FROM idempotency.parse_header(%s) AS key,"
                    " idempotency.claim(key, %s, %s) AS claim",
                    (header, scope, Jsonb(body)),
                )
                claim = await cursor.fetchone()
                if claim.outcome == "replay":
                    return JSONResponse(claim.response, claim.status_code)
                if not claim.proceed:
                    return JSONResponse({"title": claim.outcome}, claim.status_code)

                request.state.connection = connection
                response = await handler(request)
                await connection.execute(
                    "SELECT idempotency.complete(%s, %s, %s, status_code => %s)",
                    (claim.key, scope, Jsonb(json.loads(response.body)), response.status_code),
                )
                return response

        return answer


async def refused(request: Request, error: psycopg.Error) -> Response:
    """Answers with the HTTP status that the extension's SQLSTATEs end in."""
    if not (error.sqlstate or "").startswith("IK"):
        raise error
    return JSONResponse({"title": error.diag.message_primary}, int(error.sqlstate[2:]))


def connection_of(request: Request) -> psycopg.AsyncConnection:
    return request.state.connection
