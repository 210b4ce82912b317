"""For the tests of a service: check that a repeated request has one effect."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from .client import new_key

Send = Callable[[str], Any]
Effects = Callable[[], int]


def assert_one_effect(
    send: Send, effects: Effects, failing: Callable[[], AbstractContextManager[Any]] | None = None
) -> None:
    """Send a request twice, in parallel, and after a failure; each has one effect.

    send(key) sends the request with this Idempotency-Key, and returns what the
    test client returns: Flask's, Django's, httpx's, or another with a
    status_code and content or data.  effects() counts the effects of the request:
    rows, mails.  Within failing(), a patch for example, the request fails after its
    effect.  The test must not run in a transaction: in Django it needs a
    TransactionTestCase.
    """
    assert_one_effect_when_sent_twice(send, effects)
    assert_one_effect_in_parallel(send, effects)
    if failing is not None:
        assert_one_effect_after_a_rollback(send, effects, failing)


def assert_one_effect_when_sent_twice(send: Send, effects: Effects) -> None:
    key, before = new_key(), effects()
    first = _answer(send(key))
    assert first[0] < 400, f"the request is answered with {first}"
    second = _answer(send(key))
    assert second == first, f"the first answer was {first}, the second one is {second}"
    _assert_effects(effects, before + 1)


def assert_one_effect_in_parallel(send: Send, effects: Effects, requests: int = 5) -> None:
    key, before = new_key(), effects()
    with ThreadPoolExecutor(requests) as threads:
        answers = set(threads.map(lambda _: _final(send, key), range(requests)))
    assert len(answers) == 1, f"the requests are answered differently: {answers}"
    _assert_effects(effects, before + 1)


def assert_one_effect_after_a_rollback(
    send: Send, effects: Effects, failing: Callable[[], AbstractContextManager[Any]]
) -> None:
    key, before = new_key(), effects()
    with failing():
        # A test client may raise an exception that a server would answer with 500.
        try:
            failed = _answer(send(key))
        except Exception:
            failed = (500, b"")
    assert failed[0] >= 500, f"the request that was to fail is answered with {failed}"
    _assert_effects(effects, before)
    answer = _answer(send(key))
    assert answer[0] < 400, f"after a failure the request is answered with {answer}"
    _assert_effects(effects, before + 1)


def _final(send: Send, key: str) -> tuple[int, bytes]:
    end = time.monotonic() + 30
    while True:
        answer = _answer(send(key))
        if answer[0] != 409 or time.monotonic() > end:
            return answer
        time.sleep(0.05)


def _answer(response: Any) -> tuple[int, bytes]:
    content = response.content if hasattr(response, "content") else response.data
    return response.status_code, bytes(content)


def _assert_effects(effects: Effects, expected: int) -> None:
    found = effects()
    assert found == expected, f"there are {found} effects, and should be {expected}"
