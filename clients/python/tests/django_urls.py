"""The Django project of DjangoService."""

import services
from django.db import connection
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from pg_idempotency.django import idempotent


def customer_of(request):
    return services.caller_in(request.headers)


@idempotent("payments", caller=customer_of)
def pay(request, how=""):
    if request.method == "GET":
        return HttpResponse("safe")
    with connection.cursor() as cursor:
        if request.method == "DELETE":
            cursor.execute(f"DELETE FROM payments WHERE customer = '{customer_of(request)}'")
            return HttpResponse(status=204)
        cursor.execute(services.insertion(customer_of(request), services.amount_of(request.body)))
        paid = cursor.fetchone()[0]
        match how:
            case "commit":
                cursor.execute("COMMIT")
            case "commit-unnoticed":
                services.failed(cursor.execute, "COMMIT")
            case "conflict":
                if services.failed(cursor.execute, "SELECT 1 / 0"):
                    return JsonResponse({"error": "conflict"}, status=409)
            case "conflict-unnoticed":
                services.failed(cursor.execute, "SELECT 1 / 0")
            case "conflict-undone":
                cursor.execute("ROLLBACK")
                return JsonResponse({"error": "conflict"}, status=409)
            case "unavailable":
                return HttpResponse(status=503)
            case "error":
                raise ArithmeticError
            case "declined":
                return JsonResponse({"declined": paid}, status=402)
            case "refused":
                raise Http404
            case "bytes":
                return HttpResponse(b"\0\xff", content_type="application/octet-stream")
            case "stream":
                return StreamingHttpResponse([b"stream"])
            case "text":
                return HttpResponse(f'{{ "id":{paid},   "exact": 1.10 }}', content_type="application/json")
    answer = JsonResponse({"id": paid}, status=201, headers={"Location": f"/payments/{paid}", "X-Other": "first"})
    answer.set_cookie("session", "secret")
    return answer


volatile = idempotent("payments", caller=customer_of, compare=lambda request: services.without_time(request.body))(
    pay.__wrapped__
)


@method_decorator(idempotent("payments", caller=customer_of), name="dispatch")
class PaymentView(View):
    def post(self, request):
        with connection.cursor() as cursor:
            cursor.execute(services.insertion(customer_of(request), 5))
        return HttpResponse(status=201)


urlpatterns = [
    path("class", PaymentView.as_view()),
    path("volatile", volatile),
    path("payments", pay),
    path("payments/<how>", pay),
]
