"""psycopg 3: claim, work and answer are one transaction of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from .core import Answer, Call, refusals, run_to_an_answer, run_to_an_answer_async, statements

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

C = TypeVar("C", Connection[Any], AsyncConnection[Any])
CLAIM, FINISH = statements(lambda name, number: f"%({name})s")


def run(
    source: ConnectionPool[Connection[Any]] | Connection[Any], call: Call, work: Callable[[Connection[Any]], Answer]
) -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry."""

    def attempt(work: Callable[[Connection[Any]], Answer]) -> Answer:
        with (
            _connection(source) as connection,
            connection.transaction(),
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            with refusals():
                row: Any = cursor.execute(CLAIM, call.parameters()).fetchone()
            answer = call.judge(row)
            if answer is None:
                answer = call.settle(work(connection))
                with refusals(answer):
                    cursor.execute(FINISH[answer.failed], call.result(row["key"], answer))
            return answer

    return run_to_an_answer(attempt, work)


async def run_async(
    source: AsyncConnectionPool[AsyncConnection[Any]] | AsyncConnection[Any],
    call: Call,
    work: Callable[[AsyncConnection[Any]], Awaitable[Answer]],
) -> Answer:
    """As run()."""

    async def attempt(work: Callable[[AsyncConnection[Any]], Awaitable[Answer]]) -> Answer:
        async with _async_connection(source) as connection, connection.transaction():
            async with connection.cursor(row_factory=dict_row) as cursor:
                with refusals():
                    await cursor.execute(CLAIM, call.parameters())
                    row: Any = await cursor.fetchone()
                answer = call.judge(row)
                if answer is None:
                    answer = call.settle(await work(connection))
                    with refusals(answer):
                        await cursor.execute(FINISH[answer.failed], call.result(row["key"], answer))
                return answer

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
    # In a transaction that has begun, the answer would go out before its commit.
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise RuntimeError("the connection is in a transaction")
    return connection
