"""FastAPI: a class of routes, the dependency that gives endpoints their transaction, and threads for synchronous drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Request
from fastapi.routing import APIRoute

from .core import Answer, Call
from .starlette import Idempotent, Run, Work


def idempotent_route(idempotent: Idempotent) -> type[APIRoute]:
    """For APIRouter(route_class=...): the operation is the name of the route."""

    class IdempotentRoute(APIRoute):
        def get_route_handler(self) -> Any:
            return idempotent(self.name)(super().get_route_handler())

    return IdempotentRoute


def transaction(request: Request) -> Any:
    """The argument that the driver's run() passes to the work; use Depends(transaction)."""
    return request.state.transaction


def in_threads(run: Callable[[Call, Callable[[Any], Answer]], Answer], threads: int = 40) -> Run:
    """Adapt a synchronous run(), over a Session or psycopg's Connection, for Idempotent.

    Claim, answer and commit run in separate threads: in the endpoints' thread pool
    they could block each other.
    """
    limiter = CapacityLimiter(threads)

    async def run_in_thread(call: Call, work: Work) -> Answer:
        def work_in_loop(transaction: Any) -> Answer:
            return from_thread.run(work, transaction)

        return await to_thread.run_sync(run, call, work_in_loop, limiter=limiter)

    return run_in_thread


__all__ = ["Idempotent", "idempotent_route", "in_threads", "transaction"]
