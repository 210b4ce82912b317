"""FastAPI: a class of routes, and the dependency that gives endpoints their transaction."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from .starlette import Idempotent, in_threads


def idempotent_route(idempotent: Idempotent) -> type[APIRoute]:
    """For APIRouter(route_class=...): the operation is the name of the route."""

    class IdempotentRoute(APIRoute):
        def get_route_handler(self) -> Any:
            return idempotent(self.name)(super().get_route_handler())

    return IdempotentRoute


def transaction(request: Request) -> Any:
    """What the driver's run() gives to the work; Depends(transaction)."""
    return request.state.transaction


__all__ = ["Idempotent", "idempotent_route", "in_threads", "transaction"]
