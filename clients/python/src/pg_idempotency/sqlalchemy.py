"""SQLAlchemy: claim, work and answer are one transaction of a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from .core import Abort, Answer, Call, refusals, run_to_an_answer, run_to_an_answer_async, statements

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

claim, finish = statements(lambda name, number: f":{name}")
CLAIM, FINISH = text(claim), [text(statement) for statement in finish]


def run(sessions: Callable[[], Session], call: Call, work: Callable[[Session], Answer]) -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry.

    A sessionmaker or a scoped_session makes the session.  What it has read
    before is part of the transaction; the work must not commit.
    """

    def attempt(work: Callable[[Session], Answer]) -> Answer:
        with sessions() as session:
            _outermost(session)
            try:
                with refusals():
                    row: Any = session.execute(CLAIM, call.parameters()).mappings().one()
                answer = call.judge(row)
                if answer is None:
                    answer = call.settle(work(session))
                    _usable(session, answer)
                    session.flush()
                    with refusals(answer):
                        session.execute(FINISH[answer.failed], call.result(row["key"], answer))
                session.commit()
            except BaseException:
                session.rollback()
                raise
            return answer

    return run_to_an_answer(attempt, work)


async def run_async(
    sessions: Callable[[], AsyncSession], call: Call, work: Callable[[AsyncSession], Awaitable[Answer]]
) -> Answer:
    """As run()."""

    async def attempt(work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
        async with sessions() as session:
            _outermost(session)
            try:
                with refusals():
                    row: Any = (await session.execute(CLAIM, call.parameters())).mappings().one()
                answer = call.judge(row)
                if answer is None:
                    answer = call.settle(await work(session))
                    _usable(session, answer)
                    await session.flush()
                    with refusals(answer):
                        await session.execute(FINISH[answer.failed], call.result(row["key"], answer))
                await session.commit()
            except BaseException:
                await session.rollback()
                raise
            return answer

    return await run_to_an_answer_async(attempt, work)


def _outermost(session: Session | AsyncSession) -> None:
    # A claim in a savepoint could be undone without its work.
    if session.in_nested_transaction():
        raise RuntimeError("the session is in a nested transaction")


def _usable(session: Session | AsyncSession, answer: Answer) -> None:
    # After a flush that failed, the session asks for a rollback.
    if answer.failed and not session.is_active:
        raise Abort(answer)
