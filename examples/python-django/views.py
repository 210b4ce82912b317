import json

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from pg_idempotency.django import idempotent

from .models import Payment


def customer(request):
    """Stands in for your authentication."""
    return request.headers["Authorization"].removeprefix("Bearer ")


@csrf_exempt  # for clients other than browsers
@idempotent("payments", caller=customer)
def pay(request):
    payment = Payment.objects.create(customer=customer(request), amount=json.loads(request.body)["amount"])
    answer = {"id": payment.id, "customer": payment.customer, "amount": payment.amount}
    return JsonResponse(answer, status=201, headers={"Location": f"/payments/{payment.id}"})
