"""SQLAlchemy: claim, work and answer are one transaction of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from .core import Abort, Answer, Call, once, once_async, run_to_an_answer, run_to_an_answer_async, statements

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

SQL = {name: text(statement) for name, statement in statements(lambda name, number: f":{name}").items()}


def run(sessions: Callable[[], Session], call: Call, work: Callable[[Session], Answer]) -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry.

    A sessionmaker or a scoped_session creates the session.  If that has already
    begun a transaction, the claim joins it; the work must not commit.
    """

    def attempt(work: Callable[[Session], Answer]) -> Answer:
        with sessions() as session:
            _outermost(session)

            def execute(name: str, parameters: dict[str, Any]) -> Any:
                with _hidden_parameters():
                    return session.execute(SQL[name], parameters).mappings().one()

            def flushed() -> Answer:
                answer = work(session)
                if _may_be_stored(session, answer):
                    session.flush()
                return answer

            answer = once(execute, call, flushed)
            session.commit()
            return answer

    return run_to_an_answer(attempt, work)


async def run_async(
    sessions: Callable[[], AsyncSession], call: Call, work: Callable[[AsyncSession], Awaitable[Answer]]
) -> Answer:
    """The same as run()."""

    async def attempt(work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
        async with sessions() as session:
            _outermost(session)

            async def execute(name: str, parameters: dict[str, Any]) -> Any:
                with _hidden_parameters():
                    return (await session.execute(SQL[name], parameters)).mappings().one()

            async def flushed() -> Answer:
                answer = await work(session)
                if _may_be_stored(session, answer):
                    await session.flush()
                return answer

            answer = await once_async(execute, call, flushed)
            await session.commit()
            return answer

    return await run_to_an_answer_async(attempt, work)


def _outermost(session: Session | AsyncSession) -> None:
    # A claim in a savepoint could be undone without its work.
    if session.in_nested_transaction():
        raise RuntimeError("the session is in a nested transaction")


def _may_be_stored(session: Session | AsyncSession, answer: Answer) -> bool:
    # After a failed flush, the session requires a rollback.
    if answer.failed and not session.is_active:
        raise Abort(answer)
    return answer.status < 500


@contextmanager
def _hidden_parameters() -> Iterator[None]:
    """Wraps a statement of this library, so that requests and answers are not logged."""
    try:
        yield
    except StatementError as error:
        error.hide_parameters = True
        raise
