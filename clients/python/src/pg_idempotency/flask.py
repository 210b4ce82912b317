"""Flask: a decorator for views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Response, current_app, g, request

from .core import Abort, Answer, Call, Undone
from .http import SAFE_METHODS, compared, http_call

View = Callable[..., Any]


@dataclass(eq=False)
class Idempotent:
    """Has views run once for each Idempotency-Key of a caller.

    run(call, work) is that of a driver, with its pool or sessions: the view
    finds what that gives to the work as g.transaction.  compare() is what is
    compared in place of the body, without what changes from one try to the next.

    An answer under 500 is stored, and commits with what the view did.  One of
    500 and above, and any exception, undoes it; what the app answers exceptions
    with, abort(404) say, is stored if under 500.
    """

    run: Callable[[Call, Callable[[Any], Answer]], Answer]
    _: KW_ONLY
    caller: Callable[[], str | int]
    compare: Callable[[], Any] | None = None
    ttl: timedelta | None = None

    def __call__(self, operation: str) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            @wraps(view)
            def answer(*args: Any, **kwargs: Any) -> Any:
                view_now = current_app.ensure_sync(view)
                if request.method in SAFE_METHODS:
                    return view_now(*args, **kwargs)

                def work(transaction: Any) -> Answer:
                    g.transaction = transaction
                    try:
                        return _answer(current_app.make_response(view_now(*args, **kwargs)))
                    except Exception as error:
                        # Raises again what nobody answers.
                        handled = current_app.handle_user_exception(error)
                        raise Abort(_answer(current_app.make_response(handled))) from error
                    finally:
                        del g.transaction

                try:
                    given = self.run(self._call(operation), work)
                except Undone as undone:
                    given = undone.answer
                if given.response is not None:
                    return given.response
                return Response(given.content, given.status, given.headers)

            return answer

        return decorate

    def _call(self, operation: str) -> Call:
        if self.compare:
            sent = compared(self.compare())
        else:
            sent = {"content_type": request.content_type, "body": request.get_data()}
        return http_call(
            operation, self.caller(), method=request.method, path=request.script_root + request.path,
            query=request.query_string.decode("latin-1"), **sent,
            headers=request.headers.getlist("Idempotency-Key"), ttl=self.ttl,
        )  # fmt: skip


def _answer(response: Response) -> Answer:
    # Reads a stream to its end, and keeps what it reads.
    return Answer(response.status_code, response.get_data(), dict(response.headers), response=response)
