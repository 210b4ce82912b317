"""Flask: a decorator for views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Response, current_app, g, request

from .core import Abort, Answer, Call
from .http import SAFE_METHODS, compared, http_call

View = Callable[..., Any]


@dataclass(eq=False)
class Idempotent:
    """Runs views once for each Idempotency-Key of a caller.

    run(call, work) is a driver's run() with its pool or sessions; the argument that
    it passes to the work is the view's g.transaction.  compare() returns the value to
    compare instead of the body, without what changes from one try to the next.

    An answer under 500 is stored, in the transaction of the view's work.  One of
    500 and above, and any exception, undoes the work; the app's answer to an
    exception, such as abort(404), is stored if it is under 500.
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
                        # Raises the exception again if the app has no handler for it.
                        handled = current_app.handle_user_exception(error)
                        raise Abort(_answer(current_app.make_response(handled))) from error
                    finally:
                        del g.transaction

                return self.run(self._call(operation), work).to_response(Response)

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
    # Reads a stream to its end, and keeps its content.
    return Answer(response.status_code, response.get_data(), dict(response.headers), response=response)
