"""The payments service."""

import json

from django.db import models
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from pg_idempotency.django import idempotent


class Payment(models.Model):
    customer = models.TextField()
    amount = models.IntegerField()

    class Meta:
        app_label = "payments"
        db_table = "payments"


def customer(request):
    """Stands in for your authentication."""
    return request.headers["Authorization"].removeprefix("Bearer ")


@csrf_exempt  # for clients other than browsers
@idempotent("payments", caller=customer)
def pay(request):
    payment = Payment.objects.create(customer=customer(request), amount=json.loads(request.body)["amount"])
    return JsonResponse(
        {"id": payment.id, "customer": payment.customer, "amount": payment.amount},
        status=201,
        headers={"Location": f"/payments/{payment.id}"},
    )
