"""The project's views, with those that promises.pl asks for."""

from django.db import connection
from django.http import HttpResponse
from django.urls import path

from payments import customer, pay
from pg_idempotency.django import idempotent


@idempotent("payments", caller=customer)
def pay_and_fail(request, how):
    answer = pay.__wrapped__.__wrapped__(request)
    if how == "commit":
        connection.cursor().execute("COMMIT")
        return answer
    if how == "unavailable":
        return HttpResponse("Come back later.", status=503)
    raise RuntimeError(how)


urlpatterns = [path("payments", pay), path("payments/<how>", pay_and_fail)]
