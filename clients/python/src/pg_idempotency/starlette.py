"""Starlette: a decorator for endpoints; fastapi.py uses it for a class of routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from .core import Abort, Answer, Call
from .http import SAFE_METHODS, compared, http_call

Endpoint = Callable[[Request], Awaitable[Response]]
Work = Callable[[Any], Coroutine[Any, Any, Answer]]
Run = Callable[[Call, Work], Awaitable[Answer]]


@dataclass(eq=False)
class Idempotent:
    """Runs endpoints once for each Idempotency-Key of a caller.

    run(call, work) is a driver's run() with its pool or sessions; the argument that
    it passes to the work is the endpoint's request.state.transaction.
    compare(request) returns the value to compare instead of the body, without what
    changes from one try to the next.

    An answer under 500 is stored, in the transaction of the endpoint's work.  One of
    500 and above, and any exception, undoes the work; the app's answer to an
    exception, such as HTTPException(404), is stored if it is under 500.
    """

    run: Run
    _: KW_ONLY
    caller: Callable[[Request], str | int | Awaitable[str | int]]
    compare: Callable[[Request], Awaitable[Any]] | None = None
    ttl: timedelta | None = None

    def __call__(self, operation: str) -> Callable[[Endpoint], Endpoint]:
        def decorate(endpoint: Endpoint) -> Endpoint:
            @wraps(endpoint)
            async def answer(request: Request) -> Response:
                if request.method in SAFE_METHODS:
                    return await endpoint(request)

                async def work(transaction: Any) -> Answer:
                    request.state.transaction = transaction
                    try:
                        return _answer(await endpoint(request))
                    except Exception as error:
                        raise Abort(_answer(await _handled(request, error))) from error
                    finally:
                        del request.state.transaction

                given = await self.run(await self._call(operation, request), work)
                return given.to_response(Response)  # type: ignore[no-any-return]

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
            # Not from request.url, which ends the path at a quoted ? or #.
            path=request.scope["path"], query=request.scope["query_string"].decode("latin-1"),
            headers=request.headers.getlist("idempotency-key"), ttl=self.ttl,
        )  # fmt: skip


async def _handled(request: Request, error: Exception) -> Response:
    """The answer of the app's handlers to an exception, which is raised again if there is none."""
    classes = type(error).__mro__
    keys = [error.status_code] if isinstance(error, HTTPException) else []
    for key in [*keys, *classes[: classes.index(Exception)]]:
        if handler := request.app.exception_handlers.get(key):
            if iscoroutinefunction(handler):
                return await handler(request, error)  # type: ignore[no-any-return]
            return await run_in_threadpool(handler, request, error)
    if isinstance(error, HTTPException):
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    raise error


def _answer(response: Response) -> Answer:
    if not hasattr(response, "body"):
        raise TypeError("a streamed answer can't be stored")
    return Answer(response.status_code, bytes(response.body), dict(response.headers), response=response)
