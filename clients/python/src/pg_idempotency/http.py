"""The base of the frameworks' adapters: a request over HTTP, and its stored answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .core import Answer, Call, Undone, problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
REPLAYED_HEADERS = frozenset(
    {"content-language", "content-location", "content-type", "etag", "last-modified", "link", "location"}
)


@dataclass(frozen=True)
class HttpCall(Call):
    """A request over HTTP.  Its answer is stored with its headers, byte for byte."""

    header: str | None = None
    json_body: str | None = None
    refused: Answer | None = None

    def parameters(self) -> dict[str, Any]:
        if self.refused:
            raise Undone(self.refused)
        return super().parameters() | {"key": None, "header": self.header, "body": self.json_body}

    def body(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError):
            return None

    def stored(self, answer: Answer) -> Any:
        headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() in REPLAYED_HEADERS}
        try:
            text = answer.content.decode()
            if "\0" not in text:
                return {"headers": headers, "body": text}
        except UnicodeDecodeError:
            pass
        return {"headers": headers, "base64": base64.b64encode(answer.content).decode()}

    def restored(self, status: int, response: Any) -> Answer:
        replayed = {"Idempotent-Replayed": "true"}
        match response:
            case {"headers": dict(headers), "body": str(text)}:
                return Answer(status, text.encode(), headers | replayed, True)
            case {"headers": dict(headers), "base64": str(text)}:
                return Answer(status, base64.b64decode(text), headers | replayed, True)
            case None:  # erased
                return Answer(status, b"", replayed, True)
            case _:  # stored by hand, or by a function of the database
                headers = {"content-type": "application/json"}
                return Answer(status, json.dumps(response).encode(), headers | replayed, True)


def compared(value: Any) -> dict[str, Any]:
    """Body and content type of a request whose body is compared as something else."""
    return {"body": json.dumps(value).encode(), "content_type": "application/json"}


def http_call(
    operation: str, caller: str | int, *, method: str, path: str, query: str, headers: Sequence[str],
    content_type: str | None, body: bytes, ttl: timedelta | None = None,
) -> HttpCall:  # fmt: skip
    """Make a call from a request over HTTP; headers are those named Idempotency-Key.

    The caller is part of the scope, or one caller could get another's answer:
    without a caller there is no call.
    """
    if caller in ("", None):
        raise ValueError(f"the caller of {operation} is not known")
    scope = f"{operation}/{str(caller).replace('%', '%25').replace('/', '%2F')}"
    request = {"method": method, "path": path, "query": query}
    text = refused = None
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if body and (media_type.endswith("/json") or media_type.endswith("+json")):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            refused = problem(400, "The body is not JSON", "JSON is UTF-8.")
        if text and "\0" in text:
            refused = problem(400, "The body is not JSON", "It contains a zero byte.")
    elif body:
        request["sha256"] = hashlib.sha256(body).hexdigest()
    if len(headers) > 1:
        refused = problem(400, "There is more than one Idempotency-Key header", "Send one.")
    # A waiting request would hold a connection, so a duplicate is asked to retry.
    return HttpCall(None, scope, request, ttl, timedelta(0), headers[0] if headers else None, text, refused)
