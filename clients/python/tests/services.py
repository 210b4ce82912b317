"""One payments service over each driver and framework, and its clients.

A service takes POST /payments/HOW, which pays, and then does HOW; see pay().
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import threading
from dataclasses import dataclass
from functools import partial

import asyncpg
import django
import flask
import httpx
import psycopg
import sqlalchemy
from fastapi import APIRouter, Depends, FastAPI, Request
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import pg_idempotency.asyncpg
import pg_idempotency.flask
import pg_idempotency.psycopg
import pg_idempotency.sqlalchemy
import pg_idempotency.starlette
from pg_idempotency.fastapi import Idempotent, idempotent_route, in_threads, transaction

URL = os.environ["DATABASE_URL"]
# PgBouncer before 1.21 does not support prepared statements.
UNPREPARED = {"prepare_threshold": None}
POOL = {"min_size": 1, "max_size": 4, "kwargs": UNPREPARED, "open": True}


def database(statement, *parameters):
    """Run a statement and return the first column of the first row."""
    with psycopg.connect(URL, autocommit=True, **UNPREPARED) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchone()[0] if cursor.description else None


def payments(customer):
    return database("SELECT count(*) FROM payments WHERE customer = %s", customer)


@dataclass
class Sent:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def status_code(self):
        return self.status

    @property
    def replayed(self):
        return self.headers.get("idempotent-replayed") == "true"


class Service:
    """send() returns the answer, or 500 for an exception, as a server would."""

    def send(
        self, key, customer, amount=5, *, path="/payments", method="POST", body=None, content_type="application/json"
    ):
        headers = [("Authorization", f"Bearer {customer}"), ("Content-Type", content_type)]
        keys = [key] if isinstance(key, str) else key or []
        headers += [("Idempotency-Key", f'"{one}"') for one in keys]
        if body is None:
            body = json.dumps({"amount": amount}).encode()
        return self.exchange(method, path, headers, body)


# What the view does with a payment that it has made.  The insertion is undone
# where the answer is not stored, and where it comes by an exception.


def caller_in(headers):
    caller = headers["Authorization"].removeprefix("Bearer ")
    return None if caller == "nobody" else caller


def without_time(body):
    """The value to compare instead of the body, if a test asks for it."""
    return {name: value for name, value in json.loads(body).items() if name != "sent_at"}


def insertion(customer, amount):
    return f"INSERT INTO payments (customer, amount) VALUES ('{customer}', {amount}) RETURNING id"


def amount_of(body):
    try:
        return json.loads(body)["amount"]
    except (ValueError, KeyError, TypeError):
        return 7


def failed(execute, *arguments):
    try:
        execute(*arguments)
    except Exception:
        return True


async def failed_async(execute, *arguments):
    try:
        await execute(*arguments)
    except Exception:
        return True


class FlaskService(Service):
    def __init__(self, run, execute, compare=None):
        def caller():
            return caller_in(flask.request.headers) or flask.abort(401)

        app = flask.Flask("payments")
        idempotent = pg_idempotency.flask.Idempotent(run, caller=caller, compare=compare)

        @app.route("/payments", methods=["POST", "DELETE", "GET"])
        @app.route("/payments/<how>", methods=["POST"])
        @app.route("/volatile", methods=["POST"])
        @idempotent("payments")
        def pay(how=""):
            customer = caller_in(flask.request.headers)
            if flask.request.method == "GET":
                return "safe"
            if flask.request.method == "DELETE":
                execute(flask.g.transaction, f"DELETE FROM payments WHERE customer = '{customer}'")
                return "", 204
            paid = execute(flask.g.transaction, insertion(customer, amount_of(flask.request.get_data())))
            match how:
                case "commit":
                    execute(flask.g.transaction, "COMMIT")
                case "commit-unnoticed":
                    failed(execute, flask.g.transaction, "COMMIT")
                case "conflict":
                    if failed(execute, flask.g.transaction, "SELECT 1 / 0"):
                        return {"error": "conflict"}, 409
                case "conflict-unnoticed":
                    failed(execute, flask.g.transaction, "SELECT 1 / 0")
                case "conflict-undone":
                    execute(flask.g.transaction, "ROLLBACK")
                    return {"error": "conflict"}, 409
                case "unavailable":
                    return "", 503
                case "error":
                    raise ArithmeticError
                case "declined":
                    return {"declined": paid}, 402
                case "refused":
                    flask.abort(404)
                case "bytes":
                    return flask.Response(b"\0\xff", mimetype="application/octet-stream")
                case "stream":
                    return flask.Response(iter([b"stream"]))
                case "text":
                    return flask.Response(f'{{ "id":{paid},   "exact": 1.10 }}', mimetype="application/json")
            answer = flask.jsonify(id=paid)
            answer.set_cookie("session", "secret")
            return answer, 201, {"Location": f"/payments/{paid}", "X-Other": "first"}

        self.app = app

    def exchange(self, method, path, headers, body):
        client = self.app.test_client(use_cookies=False)
        response = client.open(path, method=method, headers=headers, data=body)
        return Sent(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.data)


async def endpoint(request, execute):
    customer = caller_in(request.headers)
    if request.method == "GET":
        return Response("safe")
    transaction = request.state.transaction
    if request.method == "DELETE":
        await execute(transaction, f"DELETE FROM payments WHERE customer = '{customer}'")
        return Response(status_code=204)
    paid = await execute(transaction, insertion(customer, amount_of(await request.body())))
    match request.path_params.get("how"):
        case "commit":
            await execute(transaction, "COMMIT")
        case "commit-unnoticed":
            await failed_async(execute, transaction, "COMMIT")
        case "conflict":
            if await failed_async(execute, transaction, "SELECT 1 / 0"):
                return JSONResponse({"error": "conflict"}, 409)
        case "conflict-unnoticed":
            await failed_async(execute, transaction, "SELECT 1 / 0")
        case "conflict-undone":
            await execute(transaction, "ROLLBACK")
            return JSONResponse({"error": "conflict"}, 409)
        case "unavailable":
            return Response(status_code=503)
        case "error":
            raise ArithmeticError
        case "declined":
            return JSONResponse({"declined": paid}, 402)
        case "refused":
            raise HTTPException(404)
        case "bytes":
            return Response(b"\0\xff", media_type="application/octet-stream")
        case "stream":
            return StreamingResponse(iter([b"stream"]))
        case "text":
            return Response(f'{{ "id":{paid},   "exact": 1.10 }}', media_type="application/json")
    answer = JSONResponse({"id": paid}, 201, {"Location": f"/payments/{paid}", "X-Other": "first"})
    answer.set_cookie("session", "secret")
    return answer


# In a thread of its own, so that requests may run in parallel.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait_for(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)


class AsgiService(Service):
    def exchange(self, method, path, headers, body):
        async def exchange():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, headers=headers, content=body)

        response = wait_for(exchange())
        return Sent(response.status_code, dict(response.headers), response.content)


class StarletteService(AsgiService):
    def __init__(self, run, execute, compare=None):
        def caller(request):
            return caller_in(request.headers)

        idempotent = pg_idempotency.starlette.Idempotent(run, caller=caller, compare=compare)

        @idempotent("payments")
        async def pay(request):
            return await endpoint(request, execute)

        routes = [
            Route("/payments", pay, methods=["POST", "DELETE", "GET"]),
            Route("/payments/{how}", pay, methods=["POST"]),
            Route("/volatile", pay, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)


class FastApiService(AsgiService):
    def __init__(self, run, execute):
        async def caller(request):
            if known := caller_in(request.headers):
                return known
            raise HTTPException(401)

        idempotent = Idempotent(run, caller=caller)
        router = APIRouter(route_class=idempotent_route(idempotent))

        @router.get("/payments")
        async def safe(request: Request):
            return Response("safe")

        @router.api_route("/payments", methods=["POST", "DELETE"], name="payments")
        @router.post("/payments/{how}", name="payments")
        async def pay(request: Request, connection=Depends(transaction)):
            assert connection is request.state.transaction
            return await endpoint(request, execute)

        self.app = FastAPI()
        self.app.include_router(router)


class DjangoService(Service):
    def __init__(self):
        from django.conf import settings

        if settings.configured:
            return
        parameters = psycopg.conninfo.conninfo_to_dict(URL)
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="django_urls",
            SECRET_KEY="tests",
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "HOST": parameters.get("host", ""),
                    "PORT": parameters.get("port", ""),
                    "USER": parameters.get("user", ""),
                    "NAME": parameters["dbname"],
                    "ATOMIC_REQUESTS": True,
                }
            },
        )
        django.setup()

    def exchange(self, method, path, headers, body):
        from django.db import connections
        from django.test import Client

        # As a WSGI server does with headers that come more than once.
        joined = {}
        for name, value in headers:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        content_type = joined.pop("Content-Type")
        try:
            client = Client(raise_request_exception=False)
            response = client.generic(method, path, body, content_type, headers=joined)
        finally:
            # Each thread has a connection of its own.
            connections.close_all()
        given = {name.lower(): value for name, value in response.items()}
        if response.cookies:
            given["set-cookie"] = response.cookies.output(header="")
        return Sent(response.status_code, given, response.content)


def flask_psycopg(compare=None):
    def execute(connection, statement):
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None

    return FlaskService(partial(pg_idempotency.psycopg.run, ConnectionPool(URL, **POOL)), execute, compare)


def sqlalchemy_url(driver):
    return sqlalchemy.make_url(URL).set(drivername=f"postgresql+{driver}")


def executed(session, statement):
    result = session.execute(sqlalchemy.text(statement))
    return result.scalar() if result.returns_rows else None


def flask_sqlalchemy():
    engine = sqlalchemy.create_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    return FlaskService(partial(pg_idempotency.sqlalchemy.run, sessionmaker(engine)), executed)


def starlette_psycopg():
    async def execute(connection, statement):
        cursor = await connection.execute(statement)
        return (await cursor.fetchone())[0] if cursor.description else None

    async def pool():
        made = AsyncConnectionPool(URL, **POOL | {"open": False})
        await made.open()
        atexit.register(lambda: wait_for(made.close()))
        return made

    return StarletteService(partial(pg_idempotency.psycopg.run_async, wait_for(pool())), execute)


def starlette_asyncpg(compare=None):
    async def execute(connection, statement):
        return await connection.fetchval(statement)

    async def pool():
        return await asyncpg.create_pool(URL, min_size=1, max_size=4, statement_cache_size=0)

    return StarletteService(partial(pg_idempotency.asyncpg.run, wait_for(pool())), execute, compare)


def fastapi_sqlalchemy():
    async def execute(session, statement):
        result = await session.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None

    engine = create_async_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    return FastApiService(partial(pg_idempotency.sqlalchemy.run_async, async_sessionmaker(engine)), execute)


def fastapi_sqlalchemy_in_threads():
    async def execute(session, statement):
        return await run_in_threadpool(executed, session, statement)

    engine = sqlalchemy.create_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    run = partial(pg_idempotency.sqlalchemy.run, sessionmaker(engine))
    return FastApiService(in_threads(run), execute)


async def request_without_time(request):
    return without_time(await request.body())


# Those of the path /volatile compare the body without sent_at.
COMPARING = {
    "flask": lambda: flask_psycopg(lambda: without_time(flask.request.get_data())),
    "starlette": lambda: starlette_asyncpg(request_without_time),
    "django": DjangoService,
}
SERVICES = {
    "flask-psycopg": flask_psycopg,
    "flask-sqlalchemy": flask_sqlalchemy,
    "starlette-psycopg": starlette_psycopg,
    "starlette-asyncpg": starlette_asyncpg,
    "fastapi-sqlalchemy": fastapi_sqlalchemy,
    "fastapi-sqlalchemy-in-threads": fastapi_sqlalchemy_in_threads,
    "django": DjangoService,
}
