"""The promises of the httpx client.  The test simulates the time."""

import asyncio
import contextlib
import time
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest

from pg_idempotency import client
from pg_idempotency.testing import assert_one_effect


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.pauses = []

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds):
        self.sleep(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        client, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep, time_ns=time.time_ns)
    )
    monkeypatch.setattr(client, "asyncio", SimpleNamespace(sleep=clock.sleep_async))
    return clock


def synchronously(handler, **arguments):
    with httpx.Client(transport=httpx.MockTransport(handler), base_url="http://test") as http:
        return client.send(http, "POST", "/payments", json={"amount": 5}, **arguments)


def asynchronously(handler, **arguments):
    async def main():
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://test") as http:
            return await client.send_async(http, "POST", "/payments", json={"amount": 5}, **arguments)

    return asyncio.run(main())


@pytest.fixture(params=[synchronously, asynchronously])
def send(request):
    return request.param


class Server:
    """Answers with one after the other, and repeats the last."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append((request.headers["idempotency-key"], request.content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return httpx.Response(status, headers=headers)


@pytest.mark.parametrize(
    "trouble",
    [httpx.ReadTimeout(""), httpx.ConnectTimeout(""), httpx.ConnectError(""), httpx.RemoteProtocolError(""),
     (409, {"Retry-After": "1"}), 429, 500, 502, 503, 504],
)  # fmt: skip
def test_trouble_is_tried_again_with_the_same_key_and_body(send, trouble):
    server = Server(trouble, trouble, 201)
    assert send(server).status_code == 201
    assert len(server.requests) == 3
    assert len(set(server.requests)) == 1


@pytest.mark.parametrize("answer", [200, 201, 204, 303, 400, 401, 404, 409, 412, 413, 422])
def test_other_answers_are_final(send, answer):
    server = Server(answer, 200)
    assert send(server).status_code == answer
    assert len(server.requests) == 1


def test_faults_of_the_caller_are_raised_at_once(send):
    server = Server(httpx.LocalProtocolError(""), 200)
    with pytest.raises(httpx.LocalProtocolError):
        send(server)
    assert len(server.requests) == 1


def test_each_action_has_a_key_of_its_own(send):
    server = Server(201)
    send(server)
    send(server)
    first, second = (key for key, _ in server.requests)
    assert first != second
    assert UUID(first.strip('"')).version == 7


def test_a_key_that_was_stored_is_used(send):
    server = Server(201)
    send(server, key='order "7"')
    assert server.requests[0][0] == '"order \\"7\\""'


def test_retry_after_is_kept_and_pauses_grow_with_jitter(send, clock):
    send(Server((409, {"Retry-After": "7"}), 201))
    assert 7 <= clock.pauses[0] <= 7 + client.FIRST_PAUSE
    clock.pauses.clear()
    send(Server(*[503] * 6, 201))
    limits = [client.FIRST_PAUSE * 2**i for i in range(6)]
    assert all(pause < limit for pause, limit in zip(clock.pauses, limits, strict=True))
    assert max(clock.pauses) > client.FIRST_PAUSE / 2


def test_retry_after_may_be_a_date(send, clock):
    send(Server((503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 201))
    assert len(clock.pauses) == 1 and clock.pauses[0] < 1
    send(Server((503, {"Retry-After": "nonsense"}), 201))


def test_at_the_deadline_the_last_answer_is_returned_or_raised(send, clock):
    start = clock.now
    assert send(Server(503), deadline=timedelta(seconds=30)).status_code == 503
    assert clock.now - start <= 30
    with pytest.raises(httpx.ConnectError):
        send(Server(httpx.ConnectError("")), deadline=timedelta(seconds=30))
    server = Server((409, {"Retry-After": "60"}))
    assert send(server, deadline=timedelta(seconds=30)).status_code == 409
    assert len(server.requests) == 1


def test_no_request_may_outlast_the_deadline(send):
    limits = []

    def handler(request):
        limits.append(request.extensions["timeout"]["read"])
        return httpx.Response(201)

    send(handler, deadline=timedelta(seconds=2))
    assert limits == [2]


def test_a_deadline_beyond_the_ttl_is_refused(send):
    with pytest.raises(ValueError):
        send(Server(201), deadline=timedelta(hours=1), ttl=timedelta(hours=1))


# The helper for tests: it has to find services that are not idempotent.


def faulty(remembers=True, locks=True):
    """A service that keeps answers by key; effects are counted."""
    answers, effects = {}, []

    def send(key):
        if remembers and key in answers:
            return answers[key]
        effects.append(key)
        answers[key] = httpx.Response(201, content=str(len(effects)).encode())
        return answers[key]

    return send, lambda: len(effects)


def test_the_helper_finds_a_service_that_forgets():
    assert_one_effect(*faulty())
    with pytest.raises(AssertionError):
        assert_one_effect(*faulty(remembers=False))


def test_the_helper_finds_an_effect_that_is_left_after_a_failure():
    send, effects = faulty()
    fails = []

    def failing_send(key):
        answer = send(key)
        return httpx.Response(500) if fails else answer

    @contextlib.contextmanager
    def failing():
        fails.append(True)
        yield
        fails.clear()

    with pytest.raises(AssertionError):
        assert_one_effect(failing_send, effects, failing)
