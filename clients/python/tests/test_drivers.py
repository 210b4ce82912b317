"""The promises of each driver's run(), without HTTP."""

import asyncio
import contextlib
import re
from uuid import uuid4

import asyncpg
import psycopg
import pytest
import sqlalchemy
from services import UNPREPARED, URL, insertion, payments, sqlalchemy_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

import pg_idempotency.asyncpg
import pg_idempotency.http
import pg_idempotency.psycopg
import pg_idempotency.sqlalchemy
from pg_idempotency import Abort, Answer, Call


def with_psycopg(call, work, prepare=lambda connection: None):
    with psycopg.connect(URL, autocommit=True, **UNPREPARED) as connection:
        prepare(connection)
        return pg_idempotency.psycopg.run(connection, call, lambda c: work(c.execute))


def with_sqlalchemy(call, work):
    engine = sqlalchemy.create_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    try:
        return pg_idempotency.sqlalchemy.run(
            sessionmaker(engine), call, lambda session: work(lambda text: session.execute(sqlalchemy.text(text)))
        )
    finally:
        engine.dispose()


def asynchronously(opened, run, execute):
    """The work runs in the loop's thread, so that it may be the same function."""

    def runner(call, work):
        async def main():
            source, close = await opened()

            async def do(connection):
                statements = []
                try:
                    return work(statements.append)
                finally:
                    for statement in statements:
                        await execute(connection, statement)

            try:
                return await run(source, call, do)
            finally:
                await close()

        return asyncio.run(main())

    return runner


async def open_psycopg():
    connection = await psycopg.AsyncConnection.connect(URL, autocommit=True, **UNPREPARED)
    return connection, connection.close


async def open_asyncpg():
    connection = await asyncpg.connect(URL, statement_cache_size=0)
    return connection, connection.close


async def open_sqlalchemy():
    engine = create_async_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    return async_sessionmaker(engine), engine.dispose


async def open_sqlalchemy_over_asyncpg():
    # What SQLAlchemy advises for PgBouncer.
    unprepared = {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": uuid4}
    engine = create_async_engine(sqlalchemy_url("asyncpg"), connect_args=unprepared, poolclass=NullPool)
    return async_sessionmaker(engine), engine.dispose


def in_session(session, text):
    return session.execute(sqlalchemy.text(text))


RUNNERS = {
    "psycopg": with_psycopg,
    "psycopg-async": asynchronously(open_psycopg, pg_idempotency.psycopg.run_async, lambda c, text: c.execute(text)),
    "asyncpg": asynchronously(open_asyncpg, pg_idempotency.asyncpg.run, lambda c, text: c.execute(text)),
    "sqlalchemy": with_sqlalchemy,
    "sqlalchemy-async": asynchronously(
        open_sqlalchemy, pg_idempotency.sqlalchemy.run_async, lambda s, text: s.execute(sqlalchemy.text(text))
    ),
    "sqlalchemy-asyncpg": asynchronously(
        open_sqlalchemy_over_asyncpg,
        pg_idempotency.sqlalchemy.run_async,
        lambda s, text: s.execute(sqlalchemy.text(text)),
    ),
}


@pytest.fixture(params=RUNNERS)
def run(request):
    return RUNNERS[request.param]


@pytest.fixture
def call():
    return Call("k", f"payments/customer-{uuid4()}", {"amount": 5})


def paying(call, answer):
    def work(execute):
        execute(insertion(call.scope, 5))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return work


def not_called(execute):
    raise AssertionError("the work is done again")


def test_a_retry_gets_the_first_answer(run, call):
    first = run(call, paying(call, Answer(201, {"paid": 5})))
    again = run(call, not_called)
    assert (first.status, first.body, first.replayed) == (201, {"paid": 5}, False)
    assert (again.status, again.body, again.replayed) == (201, {"paid": 5}, True)
    assert payments(call.scope) == 1


def test_another_request_is_422(run, call):
    run(call, paying(call, Answer(201)))
    assert run(Call(call.key, call.scope, {"amount": 6}), not_called).status == 422


def test_a_bad_key_is_400(run, call):
    for key in ("", None, "k" * 256):
        answer = run(Call(key, call.scope), not_called)
        assert answer.status == 400
        assert re.match("idempotency key|Idempotency-Key", answer.body["title"]) and answer.body["detail"]


def test_an_exception_undoes_all(run, call):
    with pytest.raises(ArithmeticError):
        run(call, paying(call, ArithmeticError()))
    assert payments(call.scope) == 0
    assert run(call, paying(call, Answer(201))).status == 201


def test_an_answer_of_500_and_above_undoes_all(run, call):
    for raised in (Answer(503), Abort(Answer(503))):
        assert run(call, paying(call, raised)).status == 503
    assert payments(call.scope) == 0
    assert run(call, paying(call, Answer(201))).status == 201


def test_an_abort_undoes_the_work_and_is_stored(run, call):
    assert run(call, paying(call, Abort(Answer(402, "declined")))).status == 402
    again = run(call, not_called)
    assert (again.status, again.body, again.replayed) == (402, "declined", True)
    assert payments(call.scope) == 0


def test_an_abort_is_answered_as_who_came_between_left_the_key(call):
    # Between the two transactions of the first request, the key is free.
    calls = []

    def attempt(work):
        calls.append(work)
        if len(calls) == 1:
            raise Abort(Answer(402, "declined"))
        with_psycopg(call, paying(call, Answer(201, "paid")))
        return with_psycopg(call, work)

    answer = pg_idempotency.core.run_to_an_answer(attempt, not_called)
    assert (answer.status, answer.body, answer.replayed) == (201, "paid", True)


def test_a_transaction_that_another_one_has_ended_is_run_again(run, call):
    tries = []

    def work(execute):
        tries.append(execute)
        if len(tries) < 3:
            execute("DO $$ BEGIN RAISE 'deadlock' USING ERRCODE = '40P01'; END $$")
        execute(insertion(call.scope, 5))
        return Answer(201, {"id": len(tries)})

    assert run(call, work).body == {"id": 3}
    assert run(call, not_called).body == {"id": 3}
    assert payments(call.scope) == 1


def test_an_error_of_the_work_is_not_answered(run, call):
    # An IK code of a claim inside the work is the service's own fault.
    def work(execute):
        execute("SELECT idempotency.claim(key => '')")
        return Answer(201)

    with pytest.raises(Exception) as raised:
        run(call, work)
    assert "idempotency" in str(raised.value)


def test_a_claim_that_the_work_gives_back_is_a_fault(run, call):
    # IK404, which is not for the client.
    def work(execute):
        execute(f"SELECT idempotency.release('k', '{call.scope}')")
        return Answer(201)

    with pytest.raises(Exception) as raised:
        run(call, work)
    assert pg_idempotency.core.sqlstate(pg_idempotency.core.database_error(raised.value)) == "IK404"


def test_a_refusal_after_a_flush_that_failed_is_stored(call):
    class Base(DeclarativeBase):
        pass

    class Payment(Base):
        __tablename__ = "payments"
        id: Mapped[int] = mapped_column(primary_key=True)
        customer: Mapped[str]
        amount: Mapped[int]

    def work(session):
        payment = Payment(customer=call.scope, amount=5)
        session.add(payment)
        session.flush()
        session.expunge(payment)
        session.add(Payment(id=payment.id, customer=call.scope, amount=5))
        with contextlib.suppress(sqlalchemy.exc.IntegrityError):
            session.flush()
        return Answer(409, "there already")

    engine = sqlalchemy.create_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED)
    answers = [pg_idempotency.sqlalchemy.run(sessionmaker(engine), call, work) for _ in range(2)]
    engine.dispose()
    assert [(answer.status, answer.replayed) for answer in answers] == [(409, False), (409, True)]
    assert payments(call.scope) == 0


def test_an_error_of_a_statement_of_the_library_does_not_tell_the_answer(run, call):
    def work(execute):
        execute("ROLLBACK")
        return Answer(201, {"card": "4242"})

    with pytest.raises(Exception, match="claim") as caught:
        run(call, work)
    assert "4242" not in str(caught.value)


def test_callers_and_operations_do_not_share_scopes():
    def scope(operation, caller):
        request = {"method": "POST", "path": "/", "query": "", "headers": [], "content_type": None, "body": b""}
        return pg_idempotency.http.http_call(operation, caller, **request).scope

    assert scope("payments", "a") == "payments/a"
    assert scope("payments", "a/b") != scope("payments/a", "b")
    assert scope("payments", "a/b") != scope("payments", "a%2Fb")
    assert scope("payments", 0) == "payments/0"
    for nobody in ("", None):
        with pytest.raises(ValueError):
            scope("payments", nobody)


def test_a_transaction_that_has_begun_is_refused(call):
    with pytest.raises(RuntimeError):
        with_psycopg(call, not_called, lambda connection: connection.execute("BEGIN"))


def test_sessions_that_commit_each_statement_are_refused(call):
    engine = sqlalchemy.create_engine(sqlalchemy_url("psycopg"), connect_args=UNPREPARED, isolation_level="AUTOCOMMIT")
    with pytest.raises(sqlalchemy.exc.DBAPIError):
        pg_idempotency.sqlalchemy.run(sessionmaker(engine), call, not_called)
    engine.dispose()


def test_a_response_that_is_too_large_is_413(run, call):
    answer = run(call, paying(call, Answer(200, "x" * 2_000_000)))
    assert answer.status == 413
    assert payments(call.scope) == 0


def test_an_answer_that_can_not_be_stored_is_a_fault(run, call):
    # A zero byte, and a status that is none: neither comes from the client.
    for answer in (Answer(200, "\0"), Answer(99)):
        with pytest.raises(Exception) as raised:
            run(call, paying(call, answer))
        assert pg_idempotency.core.sqlstate(pg_idempotency.core.database_error(raised.value)) in ("22P05", "IK400")
    assert payments(call.scope) == 0


def test_answers_that_others_have_stored():
    call = pg_idempotency.http.HttpCall(None, "s")
    erased = call.restored(410, None)
    assert (erased.status, erased.content, erased.headers["Idempotent-Replayed"]) == (410, b"", "true")
    by_hand = call.restored(424, {"title": "given up"})
    assert (by_hand.status, by_hand.content) == (424, b'{"title": "given up"}')
