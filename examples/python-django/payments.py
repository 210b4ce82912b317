"""The payments service."""

import json

from django.db import models
from django.http import JsonResponse

from idempotent import idempotent


class Payment(models.Model):
    customer = models.TextField()
    amount = models.IntegerField()

    class Meta:
        app_label = "payments"
        db_table = "payments"


@idempotent("payments")
def pay(request):
    payment = Payment.objects.create(
        customer=request.customer, amount=json.loads(request.body)["amount"]
    )
    return JsonResponse(
        {"id": payment.id, "customer": payment.customer, "amount": payment.amount}, status=201
    )
