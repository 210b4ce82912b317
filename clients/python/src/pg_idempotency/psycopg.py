"""psycopg 3: claim, work and answer are one transaction of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from .core import Answer, Call, once, once_async, run_to_an_answer, run_to_an_answer_async, statements

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

C = TypeVar("C", Connection[Any], AsyncConnection[Any])
SQL = statements(lambda name, number: f"%({name})s")


def run(
    source: ConnectionPool[Connection[Any]] | Connection[Any], call: Call, work: Callable[[Connection[Any]], Answer]
) -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry."""

    def attempt(work: Callable[[Connection[Any]], Answer]) -> Answer:
        with _connection(source) as connection, connection.transaction():

            def execute(name: str, parameters: dict[str, Any]) -> Any:
                with connection.cursor(row_factory=dict_row) as cursor:
                    return cursor.execute(SQL[name], parameters).fetchone()

            return once(execute, call, lambda: work(connection))

    return run_to_an_answer(attempt, work)


async def run_async(
    source: AsyncConnectionPool[AsyncConnection[Any]] | AsyncConnection[Any],
    call: Call,
    work: Callable[[AsyncConnection[Any]], Awaitable[Answer]],
) -> Answer:
    """The same as run()."""

    async def attempt(work: Callable[[AsyncConnection[Any]], Awaitable[Answer]]) -> Answer:
        async with _async_connection(source) as connection, connection.transaction():

            async def execute(name: str, parameters: dict[str, Any]) -> Any:
                async with connection.cursor(row_factory=dict_row) as cursor:
                    await cursor.execute(SQL[name], parameters)
                    return await cursor.fetchone()

            return await once_async(execute, call, lambda: work(connection))

    return await run_to_an_answer_async(attempt, work)


@contextmanager
def _connection(source: ConnectionPool[Connection[Any]] | Connection[Any]) -> Iterator[Connection[Any]]:
    if isinstance(source, Connection):
        yield _idle(source)
    else:
        with source.connection() as connection:
            yield connection


@asynccontextmanager
async def _async_connection(
    source: AsyncConnectionPool[AsyncConnection[Any]] | AsyncConnection[Any],
) -> AsyncIterator[AsyncConnection[Any]]:
    if isinstance(source, AsyncConnection):
        yield _idle(source)
    else:
        async with source.connection() as connection:
            yield connection


def _idle(connection: C) -> C:
    # In a transaction that has already begun, the answer would be sent before its commit.
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise RuntimeError("the connection is in a transaction")
    return connection
