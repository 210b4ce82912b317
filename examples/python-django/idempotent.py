"""A decorator for views: once for each Idempotency-Key."""

import functools
import json

from django.core.exceptions import BadRequest
from django.db import connection, transaction
from django.http import JsonResponse
from psycopg.types.json import Jsonb


def idempotent(operation):
    """Run a view that answers in JSON once for each Idempotency-Key.

    Claim, work and answer are one transaction, the outermost one.  An
    exception or an answer of 500 and above rolls all of it back, and a retry
    runs the view again.
    """

    def decorate(view):
        @functools.wraps(view)
        def answer(request, *args, **kwargs):
            scope = f"{operation}/{request.customer}"
            try:
                body = json.loads(request.body)
            except ValueError as error:
                raise BadRequest("The body is not JSON") from error
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT key, outcome, proceed, status_code, response"
                    " FROM idempotency.parse_header(%s) AS key,"
                    " idempotency.claim(key, %s, %s)",
                    [request.headers.get("Idempotency-Key"), scope, Jsonb(body)],
                )
                key, outcome, proceed, status, stored = cursor.fetchone()
                if outcome == "replay":
                    return JsonResponse(json.loads(stored), status=status)
                if not proceed:
                    return JsonResponse({"title": outcome}, status=status)

                response = view(request, *args, **kwargs)
                if response.status_code >= 500:
                    transaction.set_rollback(True)
                else:
                    cursor.execute(
                        "SELECT idempotency.complete(%s, %s, %s, status_code => %s)",
                        [key, scope, Jsonb(json.loads(response.content)), response.status_code],
                    )
                return response

        return answer

    return decorate
