"""The Python of the pages is run unchanged."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock
from uuid import uuid4

import flask
import httpx
import pytest
from psycopg_pool import ConnectionPool
from services import POOL, URL, database, payments

from pg_idempotency.flask import Idempotent
from pg_idempotency.psycopg import run

CHECKOUT = Path(__file__).parents[3]
PACKAGE = "clients/python/README.md"
SHOWN = {
    page: re.findall(r"^```python\n(.*?)^```$", (CHECKOUT / page).read_text(), re.DOTALL | re.MULTILINE)
    for page in ("README.md", PACKAGE, "doc/clients.md")
}


@pytest.fixture
def pool():
    with ConnectionPool(URL, **POOL) as pool:
        yield pool


@pytest.fixture
def customer():
    return f"customer-{uuid4()}"


def block(page, part):
    (found,) = (block for block in SHOWN[page] if part in block)
    return found


def pay(client, key):
    return client.post("/payments", json={"amount": 5}, headers={"Idempotency-Key": key})


def test_there_is_no_other_block():
    assert {page: len(blocks) for page, blocks in SHOWN.items()} == {"README.md": 1, PACKAGE: 4, "doc/clients.md": 1}


@pytest.mark.parametrize("page", ["README.md", PACKAGE])
def test_the_service_pays_once(page, customer):
    service = {"__name__": __name__, "url": URL}
    exec(block(page, "@app.post"), service)
    service["app"].before_request(lambda: setattr(flask.g, "user", SimpleNamespace(id=customer)))
    with service["pool"]:
        client = service["app"].test_client()
        first, again = pay(client, "k"), pay(client, "k")
    assert first.status_code == 201 and again.headers["Idempotent-Replayed"] == "true"
    assert again.data == first.data and again.headers["Location"] == first.headers["Location"]
    assert payments(customer) == 1


def test_without_http_an_abort_undoes_the_work_and_is_stored(pool, customer):
    database("CREATE TABLE IF NOT EXISTS accounts (id text PRIMARY KEY, amount integer)")
    database("INSERT INTO accounts VALUES (%s, 8)", customer)

    def answer(key):
        names = {"pool": pool, "key": key, "customer": customer, "account": customer, "request": {"amount": 5}}
        exec(block(PACKAGE, "raise Abort"), names)
        return names["answer"]

    assert (answer("k").status, answer("k").replayed) == (201, True)
    assert (answer("k2").status, answer("k2").replayed) == (402, True)
    assert database("SELECT amount FROM accounts WHERE id = %s", customer) == 3


@pytest.mark.parametrize("page", [PACKAGE, "doc/clients.md"])
def test_the_caller_sends_again_with_one_key(page):
    sent = []

    def service(request):
        sent.append(request.headers["Idempotency-Key"])
        return httpx.Response(503 if len(sent) == 1 else 201)

    names = {"httpx_client": httpx.Client(transport=httpx.MockTransport(service), base_url="http://shop.example")}
    exec(block(page, "import new_key, send"), names)
    assert names["response"].status_code == 201
    assert sent == [f'"{names["key"]}"'] * 2


def test_one_effect_is_asserted(pool, customer):
    shop = ModuleType("shop")
    shop.send_receipt = lambda: None
    app = flask.Flask(__name__)

    @app.post("/payments")
    @Idempotent(lambda call, work: run(pool, call, work), caller=lambda: customer)("payments")
    def pay_and_send():
        flask.g.transaction.execute("INSERT INTO payments (customer, amount) VALUES (%s, 5)", [customer])
        shop.send_receipt()
        return {}, 201

    names = {"app": app, "count": lambda _: payments(customer), "mock": mock}
    with mock.patch.dict(sys.modules, shop=shop):
        exec(block(PACKAGE, "assert_one_effect"), names)
        names["test_payments_are_made_once"]()
    assert payments(customer) == 3
