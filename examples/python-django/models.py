from django.db import models


class Payment(models.Model):
    customer = models.TextField()
    amount = models.IntegerField()

    class Meta:
        db_table = "payments"
