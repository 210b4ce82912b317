"""asyncpg: claim, work and answer are one transaction of a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from asyncpg import Connection, Pool

from .core import Answer, Call, once_async, run_to_an_answer_async, statements

SQL = statements(lambda name, number: f"${number}")


async def run(source: Pool | Connection, call: Call, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry."""

    async def attempt(work: Callable[[Any], Awaitable[Answer]]) -> Answer:
        async with _connection(source) as connection, connection.transaction():

            def execute(name: str, parameters: dict[str, Any]) -> Awaitable[Any]:
                return connection.fetchrow(SQL[name], *parameters.values())  # type: ignore[no-any-return]

            return await once_async(execute, call, lambda: work(connection))

    return await run_to_an_answer_async(attempt, work)


def _connection(source: Pool | Connection) -> AbstractAsyncContextManager[Any]:
    if isinstance(source, Pool):
        return source.acquire()  # type: ignore[no-any-return]
    # In a transaction that has already begun, the answer would be sent before its commit.
    if source.is_in_transaction():
        raise RuntimeError("the connection is in a transaction")
    return nullcontext(source)
