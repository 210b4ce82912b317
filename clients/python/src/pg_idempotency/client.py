"""The caller's side: httpx requests that are sent again until they are answered.

One action has one key, however often it is sent.  A request is sent again after
a time-out, a broken connection, 409 with a Retry-After (the first request is in
progress), 429, and 5xx.  Every other answer is final: in particular, 400 and 422
would be the same again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import httpx

BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0


def new_key() -> str:
    """A UUIDv7: keys that are generated one after the other are adjacent in an index."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(UUID(int=number))


def send(
    client: httpx.Client,
    method: str,
    url: str | httpx.URL,
    *,
    key: str | None = None,
    deadline: timedelta = timedelta(minutes=1),
    ttl: timedelta = timedelta(days=1),
    headers: Mapping[str, str] | None = None,
    **request: Any,
) -> httpx.Response:
    """Send a request until it is answered, or the deadline is over.

    At the deadline the last answer is returned, or the last exception raised.
    The result of the action is then unknown, and the same key may be sent again
    within the service's ttl.  To do that after a crash too, store the key,
    new_key(), with the action before it is sent.  Further arguments, such as json,
    are those of client.build_request().
    """
    tries = _Tries(deadline, ttl)
    message = client.build_request(method, url, headers=_keyed(headers, key), **request)
    message.read()
    while True:
        message.extensions["timeout"] = tries.timeout(client.timeout)
        try:
            response = client.send(message)
        except BROKEN:
            pause = tries.pause()
            if pause is None:
                raise
        else:
            pause = tries.pause_after(response)
            if pause is None:
                return response
            response.close()
        time.sleep(pause)


async def send_async(
    client: httpx.AsyncClient,
    method: str,
    url: str | httpx.URL,
    *,
    key: str | None = None,
    deadline: timedelta = timedelta(minutes=1),
    ttl: timedelta = timedelta(days=1),
    headers: Mapping[str, str] | None = None,
    **request: Any,
) -> httpx.Response:
    """The same as send(), for an AsyncClient."""
    tries = _Tries(deadline, ttl)
    message = client.build_request(method, url, headers=_keyed(headers, key), **request)
    await message.aread()
    while True:
        message.extensions["timeout"] = tries.timeout(client.timeout)
        try:
            response = await client.send(message)
        except BROKEN:
            pause = tries.pause()
            if pause is None:
                raise
        else:
            pause = tries.pause_after(response)
            if pause is None:
                return response
            await response.aclose()
        await asyncio.sleep(pause)


def _keyed(headers: Mapping[str, str] | None, key: str | None) -> dict[str, str]:
    key = (key or new_key()).replace("\\", r"\\").replace('"', r"\"")
    return {**(headers or {}), "Idempotency-Key": f'"{key}"'}


class _Tries:
    """When to try again; None if not."""

    def __init__(self, deadline: timedelta, ttl: timedelta) -> None:
        if deadline >= ttl:
            raise ValueError("after its ttl a key is forgotten, and the request would be done again")
        self.end = time.monotonic() + deadline.total_seconds()
        self.made = 0

    def timeout(self, usual: httpx.Timeout) -> dict[str, float]:
        left = max(self.end - time.monotonic(), 0.001)
        return {name: left if limit is None else min(limit, left) for name, limit in usual.as_dict().items()}

    def pause(self, at_least: float = 0) -> float | None:
        # Jitter, so that clients that failed together do not retry together.
        limit = min(FIRST_PAUSE * 2**self.made, LONGEST_PAUSE)
        self.made += 1
        pause = at_least + random.uniform(0, limit)
        return pause if time.monotonic() + pause < self.end else None

    def pause_after(self, response: httpx.Response) -> float | None:
        retry_after = _seconds(response.headers.get("retry-after"))
        if response.status_code == 429 or response.status_code >= 500:
            return self.pause(retry_after or 0)
        if response.status_code == 409 and retry_after is not None:
            return self.pause(retry_after)
        return None


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max((then - datetime.now(UTC)).total_seconds(), 0)
