"""Starlette: a decorator for endpoints; fastapi.py makes a class of routes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from anyio import CapacityLimiter, from_thread, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from .core import Abort, Answer, Call, Undone
from .http import SAFE_METHODS, compared, http_call

Endpoint = Callable[[Request], Awaitable[Response]]
Work = Callable[[Any], Coroutine[Any, Any, Answer]]
Run = Callable[[Call, Work], Awaitable[Answer]]


def in_threads(run: Callable[[Call, Callable[[Any], Answer]], Answer], threads: int = 40) -> Run:
    """Make a synchronous run(), over a Session or psycopg's Connection, one for Idempotent.

    Claim, answer and commit run in threads of their own: in those of the
    endpoints, they could keep each other out.
    """
    limiter = CapacityLimiter(threads)

    async def run_in_thread(call: Call, work: Work) -> Answer:
        def work_in_loop(transaction: Any) -> Answer:
            return from_thread.run(work, transaction)

        return await to_thread.run_sync(run, call, work_in_loop, limiter=limiter)

    return run_in_thread


class Idempotent:
    """Has endpoints run once for each Idempotency-Key of a caller.

    run(call, work) is that of a driver, with its pool or sessions: the
    endpoint finds what that gives to the work as request.state.transaction.
    compare(request) is what is compared in place of the body, without what
    changes from one try to the next.

    An answer under 500 is stored, and commits with what the endpoint did.  One
    of 500 and above, and any exception, undoes it; what the app answers
    exceptions with, HTTPException(404) say, is stored if under 500.
    """

    def __init__(
        self,
        run: Run,
        *,
        caller: Callable[[Request], str | int | Awaitable[str | int]],
        compare: Callable[[Request], Awaitable[Any]] | None = None,
        ttl: timedelta | None = None,
    ) -> None:
        self.run = run
        self.caller = caller
        self.compare = compare
        self.ttl = ttl

    def __call__(self, operation: str) -> Callable[[Endpoint], Endpoint]:
        def decorate(endpoint: Endpoint) -> Endpoint:
            @wraps(endpoint)
            async def answer(request: Request) -> Response:
                if request.method in SAFE_METHODS:
                    return await endpoint(request)
                made: list[tuple[Answer, Response]] = []

                async def work(transaction: Any) -> Answer:
                    request.state.transaction = transaction
                    try:
                        made[:] = [_answer(await endpoint(request))]
                    except Exception as error:
                        made[:] = [_answer(await _handled(request, error))]
                        raise Abort(made[0][0]) from error
                    finally:
                        del request.state.transaction
                    return made[0][0]

                try:
                    given = await self.run(await self._call(operation, request), work)
                except Undone as undone:
                    given = undone.answer
                if made and made[0][0] is given:
                    return made[0][1]
                return Response(given.content, given.status, given.headers)

            return answer

        return decorate

    async def _call(self, operation: str, request: Request) -> Call:
        caller = self.caller(request)
        if isinstance(caller, Awaitable):
            caller = await caller
        # Read in any case, so that the endpoint can read it again.
        sent: dict[str, Any] = {"content_type": request.headers.get("content-type"), "body": await request.body()}
        if self.compare:
            sent = compared(await self.compare(request))
        return http_call(
            operation, caller, method=request.method, **sent,
            # Not those of request.url, which takes a quoted ? or # in the path for its end.
            path=request.scope["path"], query=request.scope["query_string"].decode("latin-1"),
            headers=request.headers.getlist("idempotency-key"), ttl=self.ttl,
        )  # fmt: skip


async def _handled(request: Request, error: Exception) -> Response:
    """What the app's handlers make of an exception, which is raised again if there are none."""
    handlers = request.app.exception_handlers
    keys = [error.status_code] if isinstance(error, HTTPException) else []
    for key in [*keys, *type(error).__mro__]:
        if key is Exception:
            break
        if handler := handlers.get(key):
            if iscoroutinefunction(handler):
                return await handler(request, error)  # type: ignore[no-any-return]
            return await run_in_threadpool(handler, request, error)
    if isinstance(error, HTTPException):
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    raise error


def _answer(response: Response) -> tuple[Answer, Response]:
    if not hasattr(response, "body"):
        raise TypeError("a streamed answer can't be stored")
    return Answer(response.status_code, bytes(response.body), dict(response.headers)), response
