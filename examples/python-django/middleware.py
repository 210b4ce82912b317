"""The project's middleware."""

from django.db import DatabaseError
from django.http import JsonResponse


def authenticated(get_response):
    """Stands in for the middleware that knows who is calling."""

    def middleware(request):
        request.customer = request.headers["Authorization"].removeprefix("Bearer ")
        return get_response(request)

    return middleware


class Refusals:
    """Answers with the HTTP status that the extension's SQLSTATEs end in."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, error):
        # Django's error wraps psycopg's.
        if not isinstance(error, DatabaseError):
            return None
        cause = error.__cause__
        if not (cause.sqlstate or "").startswith("IK"):
            return None
        return JsonResponse({"title": cause.diag.message_primary}, status=int(cause.sqlstate[2:]))
