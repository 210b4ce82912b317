"""The additional promises of run() over Django."""

from uuid import uuid4

import pytest
from services import SERVICES, payments

from pg_idempotency import Answer, Call


@pytest.fixture(scope="module", autouse=True)
def project():
    return SERVICES["django"]()


def test_classes_of_views_are_decorated_at_dispatch(project):
    customer = f"customer-{uuid4()}"
    first = project.send("k", customer, path="/class")
    again = project.send("k", customer, path="/class")
    assert (first.status, first.replayed) == (201, False)
    assert (again.status, again.replayed) == (201, True)
    assert payments(customer) == 1


def test_the_transaction_is_the_outermost_one():
    from django.db import connections, transaction

    from pg_idempotency.django import run

    call = Call("k", f"payments/{uuid4()}")
    assert run(call, lambda: Answer(201)).status == 201
    with pytest.raises(RuntimeError), transaction.atomic():
        run(call, lambda: Answer(201))
    connections.close_all()


def test_work_that_has_asked_for_a_rollback_is_undone_and_its_answer_stored():
    # As Django REST framework does when it answers an exception.
    from django.db import connection, connections, transaction

    from pg_idempotency.django import run

    call = Call("k", f"payments/{uuid4()}")

    def work():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO payments (customer, amount) VALUES (%s, 5)", [call.scope])
        transaction.set_rollback(True)
        return Answer(402)

    assert run(call, work).status == 402
    assert run(call, work).replayed
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM payments WHERE customer = %s", [call.scope])
        assert cursor.fetchone() == (0,)
    connections.close_all()
