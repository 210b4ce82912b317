"""Serve the project that "run" has created, with the views that promises.pl needs."""

import os
from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
application = get_wsgi_application()

from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from payments.views import customer, pay
from pg_idempotency.django import idempotent
from shop import urls


@csrf_exempt
@idempotent("payments", caller=customer)
def pay_and_fail(request, how):
    answer = pay.__wrapped__.__wrapped__(request)
    if how == "commit":
        connection.cursor().execute("COMMIT")
        return answer
    if how == "caught":
        try:
            connection.cursor().execute("SELECT 1/0")
        except DatabaseError:
            return HttpResponse("Taken.", status=409)
    if how == "nothing":
        return HttpResponse(status=204)
    if how == "unavailable":
        return HttpResponse("Come back later.", status=503)
    raise RuntimeError(how)


urls.urlpatterns.append(path("payments/<how>", pay_and_fail))
make_server("127.0.0.1", int(os.environ["PORT"]), application).serve_forever()
