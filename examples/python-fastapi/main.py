"""The application around payments.py, served by uvicorn."""

import os
from contextlib import asynccontextmanager

import psycopg
import uvicorn
from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

from idempotent import refused
from payments import router


@asynccontextmanager
async def lifespan(app):
    # PgBouncer before 1.21 knows nothing of prepared statements.
    async with AsyncConnectionPool(
        os.environ["DATABASE_URL"], min_size=1, max_size=4, kwargs={"prepare_threshold": None}
    ) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan, exception_handlers={psycopg.Error: refused})
app.include_router(router)


@app.middleware("http")
async def authenticated(request, call_next):
    """Stands in for the middleware that knows who is calling."""
    request.state.customer = request.headers["authorization"].removeprefix("Bearer ")
    return await call_next(request)


uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
