"""Django: a decorator for views, and run() for other code."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError

from .core import Abort, Answer, Call, once, run_to_an_answer, statements
from .http import SAFE_METHODS, compared, http_call

# Exceptions that Django answers with a status under 500.
ANSWERED = (Http404, PermissionDenied, BadRequest, SuspiciousOperation, MultiPartParserError)
View = Callable[..., HttpResponse]
SQL = statements(lambda name, number: f"%({name})s")


def run(call: Call, work: Callable[[], Answer], using: str = "default") -> Answer:
    """Do the work once for the call's key, and return its answer, now and on every retry."""

    def attempt(work: Callable[[Any], Answer]) -> Answer:
        # Durable: the outermost transaction, so that the answer is sent after its commit.
        with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:

            def execute(name: str, parameters: dict[str, Any]) -> Any:
                cursor.execute(SQL[name], parameters)
                return dict(zip((column.name for column in cursor.description), cursor.fetchone(), strict=True))

            def worked() -> Answer:
                answer = work(None)
                if answer.failed and answer.status < 500 and connections[using].needs_rollback:
                    raise Abort(answer)
                return answer

            return once(execute, call, worked)

    return run_to_an_answer(attempt, lambda _: work())


def authenticated(request: HttpRequest) -> Any:
    return request.user.pk if request.user.is_authenticated else None


def idempotent(
    operation: str, *, caller: Callable[[HttpRequest], Any] = authenticated,
    compare: Callable[[HttpRequest], Any] | None = None, using: str = "default", ttl: timedelta | None = None,
) -> Callable[[View], View]:  # fmt: skip
    """Run a view once for each Idempotency-Key of a caller.

    An answer under 500 is stored, in the transaction of the view's work.  One of
    500 and above, and any exception, undoes the work; Django's answer to an exception
    is stored if it is under 500.  compare(request) returns the value to compare
    instead of the body, without what changes from one try to the next.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method in SAFE_METHODS:
                return view(request, *args, **kwargs)

            def work() -> Answer:
                try:
                    return _answer(view(request, *args, **kwargs))
                except ANSWERED as error:
                    raise Abort(_answer(response_for_exception(request, error))) from error

            sent = {"content_type": request.content_type, "body": request.body}
            if compare:
                sent = compared(compare(request))
            call = http_call(
                operation, caller(request), method=request.method, path=request.path,
                query=request.META.get("QUERY_STRING", ""), **sent,
                headers=[key] if (key := request.headers.get("Idempotency-Key")) else [], ttl=ttl,
            )  # fmt: skip
            return run(call, work, using).to_response(_response)

        # With ATOMIC_REQUESTS too, the transaction is this decorator's.
        return transaction.non_atomic_requests(using=using)(answer)  # type: ignore[no-any-return]

    return decorate


def _response(content: bytes, status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(content, status=status, headers=headers)


def _answer(response: HttpResponse) -> Answer:
    if not getattr(response, "is_rendered", True):
        response = response.render()
    if response.streaming:
        raise TypeError("a streamed answer can't be stored")
    return Answer(response.status_code, response.content, dict(response.items()), response=response)
