"""The promises of every framework over every driver."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest import mock
from uuid import uuid4

import psycopg
import pytest
from services import COMPARING, SERVICES, UNPREPARED, URL, database, payments

from pg_idempotency.testing import assert_one_effect


@pytest.fixture(scope="module", params=SERVICES)
def service(request):
    return SERVICES[request.param]()


@pytest.fixture
def customer():
    return f"customer-{uuid4()}"


def test_a_duplicate_is_answered_with_the_bytes_and_the_headers_of_the_first(service, customer):
    first = service.send("k", customer)
    again = service.send("k", customer)
    assert first.status == 201 and not first.replayed
    assert again.status == 201 and again.replayed
    assert again.content == first.content
    for name in ("location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert first.headers["x-other"] == "first" and "x-other" not in again.headers
    assert "set-cookie" in first.headers and "set-cookie" not in again.headers
    assert payments(customer) == 1


def test_json_is_replayed_as_it_was_written(service, customer):
    first = service.send("k", customer, path="/payments/text")
    again = service.send("k", customer, path="/payments/text")
    assert again.replayed and b"   " in again.content and again.content == first.content


def test_one_effect_when_sent_twice_in_parallel_and_after_a_rollback(service, customer):
    @contextmanager
    def failing():
        with mock.patch("services.amount_of", return_value="1 / 0"):
            yield

    assert_one_effect(lambda key: service.send(key, customer), lambda: payments(customer), failing)


@pytest.mark.parametrize("other", ["/payments/other", "/payments?dry=1"])
def test_the_key_with_another_path_or_query_is_422(service, customer, other):
    assert service.send("k", customer).status == 201
    refused = service.send("k", customer, path=other)
    assert refused.status == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert payments(customer) == 1


@pytest.mark.parametrize("one, other", [("/payments/a%3Fb", "/payments/a?b"), ("/payments/a%23b", "/payments/a")])
def test_a_quoted_mark_is_part_of_the_path(service, customer, one, other):
    assert service.send("k", customer, path=one).status == 201
    assert service.send("k", customer, path=other).status == 422
    assert payments(customer) == 1


def test_the_key_with_another_body_or_method_is_422(service, customer):
    assert service.send("k", customer).status == 201
    assert service.send("k", customer, 6).status == 422
    assert service.send("k", customer, method="DELETE").status == 422
    assert service.send("k", customer, body=b'{ "amount": 5.0 }').replayed
    assert payments(customer) == 1


def test_other_callers_have_other_keys(service, customer):
    assert service.send("k", customer).status == 201
    other = service.send("k", customer + "-2")
    assert other.status == 201 and not other.replayed
    # Nor can a caller choose a name that gives it the scope of another.
    assert not service.send("k", customer + "/2").replayed


def test_who_is_not_known_is_answered_by_the_framework(service):
    stranger = service.send("k", "nobody")
    assert stranger.status in (401, 500) and not stranger.replayed
    assert payments("nobody") == 0


def test_no_key_two_keys_and_bad_keys_are_400(service, customer):
    for keys in ([], ["a", "b"], "k" * 256):
        refused = service.send(keys, customer)
        assert refused.status == 400
        assert refused.headers["content-type"] == "application/problem+json"
    assert payments(customer) == 0


@pytest.mark.parametrize(
    "body",
    [b'{"amount": 5, "x": "\\u0000"}', b'{"amount": NaN}', b'{"x": "\\ud800"}', b'{"amount":', b'\xff', b'"\0"',
     b'{"a": 1}, "path": {"b": 1}', b"1e1000000", b"[" * 100_000],
    ids=["zero", "nan", "surrogate", "unfinished", "bytes", "zero byte", "two", "large", "deep"],
)  # fmt: skip
def test_a_body_that_jsonb_can_not_hold_is_400(service, customer, body):
    assert service.send("k", customer, body=body).status == 400
    assert payments(customer) == 0
    assert service.send("k", customer).status == 201


def test_a_body_that_is_no_json_is_compared_byte_for_byte(service, customer):
    first = service.send("k", customer, body=b"\0\xff", content_type="application/octet-stream")
    assert first.status == 201
    assert service.send("k", customer, body=b"\0\xff", content_type="application/octet-stream").content == first.content
    assert service.send("k", customer, body=b"\0\xfe", content_type="application/octet-stream").status == 422


@pytest.mark.parametrize("name", COMPARING)
def test_what_changes_from_one_try_to_the_next_may_be_left_out(name, customer):
    service = COMPARING[name]()

    def send(amount, sent_at):
        body = f'{{"amount": {amount}, "sent_at": {sent_at}}}'.encode()
        return service.send("k", customer, path="/volatile", body=body)

    assert send(5, 1).status == 201
    assert send(5, 2).replayed
    assert send(6, 1).status == 422
    assert payments(customer) == 1


def test_delete_and_answers_without_a_body_work(service, customer):
    service.send("k", customer)
    gone = service.send("d", customer, method="DELETE", body=b"")
    again = service.send("d", customer, method="DELETE", body=b"")
    assert (gone.status, gone.content, gone.replayed) == (204, b"", False)
    assert (again.status, again.content, again.replayed) == (204, b"", True)
    assert payments(customer) == 0


def test_answers_of_bytes_are_replayed(service, customer):
    first = service.send("k", customer, path="/payments/bytes")
    again = service.send("k", customer, path="/payments/bytes")
    assert again.replayed and again.content == first.content == b"\0\xff"
    assert again.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("how, status", [("unavailable", 503), ("error", 500)])
def test_what_fails_with_500_and_above_leaves_nothing(service, customer, how, status):
    for _ in range(2):
        answer = service.send("k", customer, path=f"/payments/{how}")
        assert answer.status == status and not answer.replayed
    assert payments(customer) == 0
    assert service.send("k", customer).status == 201


def test_a_stream_is_stored_as_a_whole_or_refused(service, customer):
    first = service.send("k", customer, path="/payments/stream")
    again = service.send("k", customer, path="/payments/stream")
    if first.status == 500:
        assert again.status == 500 and payments(customer) == 0
    else:
        assert again.replayed and first.content == again.content == b"stream"


def test_a_returned_402_is_stored_with_its_work(service, customer):
    first = service.send("k", customer, path="/payments/declined")
    again = service.send("k", customer, path="/payments/declined")
    assert first.status == 402 and not first.replayed
    assert again.status == 402 and again.replayed and again.content == first.content
    assert payments(customer) == 1


def test_a_raised_404_is_stored_and_its_work_undone(service, customer):
    first = service.send("k", customer, path="/payments/refused")
    again = service.send("k", customer, path="/payments/refused")
    assert first.status == 404 and not first.replayed
    assert again.status == 404 and again.replayed and again.content == first.content
    assert payments(customer) == 0


@pytest.mark.parametrize("how", ["conflict", "conflict-undone"])
def test_a_refusal_after_an_error_of_the_database_is_stored(service, customer, how):
    first = service.send("k", customer, path=f"/payments/{how}")
    again = service.send("k", customer, path=f"/payments/{how}")
    assert first.status == 409 and not first.replayed
    assert again.status == 409 and again.replayed and again.content == first.content
    assert payments(customer) == 0


def test_an_error_of_the_database_that_nobody_noticed_is_no_success(service, customer):
    for _ in range(2):
        assert service.send("k", customer, path="/payments/conflict-unnoticed").status == 500
    assert payments(customer) == 0


@pytest.mark.parametrize("how", ["commit", "commit-unnoticed"])
def test_a_commit_in_between_has_no_effect(service, customer, how):
    for _ in range(2):
        assert service.send("k", customer, path=f"/payments/{how}").status == 500
    assert payments(customer) == 0


def test_a_duplicate_is_sent_away_while_the_first_is_at_work(service, customer):
    with psycopg.connect(URL, **UNPREPARED) as owner:
        owner.execute("SELECT idempotency.claim(key => 'k', scope => %s)", [f"payments/{customer}"])
        start = time.monotonic()
        answer = service.send("k", customer)
        assert answer.status == 409
        assert int(answer.headers["retry-after"]) >= 1
        assert time.monotonic() - start < 2, "a duplicate holds a connection"
        owner.rollback()
    assert service.send("k", customer).status == 201


def test_fifty_requests_at_once_are_all_answered(service, customer):
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda n: service.send(f"k{n}", customer), range(50)))
    assert {answer.status for answer in answers} == {201}
    assert payments(customer) == 50


def test_a_claim_that_somebody_left_with_a_lease_is_not_taken_over(service, customer):
    database(
        "SELECT idempotency.claim(key => 'k', scope => %s, request => %s, lease => '10 ms')",
        f"payments/{customer}",
        '{"method": "POST", "path": "/payments", "query": "", "body": {"amount": 5}}',
    )
    database("SELECT pg_sleep(0.02)")
    assert service.send("k", customer).status == 500
    assert payments(customer) == 0


def test_safe_methods_need_no_key(service, customer):
    answer = service.send([], customer, method="GET", body=b"")
    assert (answer.status, answer.content) == (200, b"safe")
