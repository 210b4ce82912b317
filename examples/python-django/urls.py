from django.urls import path

from payments import pay

urlpatterns = [path("payments", pay)]
